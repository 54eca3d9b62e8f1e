"""How `faq up` tells what happens: a spinner with lines above it on a terminal, plain lines elsewhere; on stderr."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from rich.console import Console

GIGABYTE = 1000
QUIET = {"started"}  # events that interest only the supervisor's log


class Progress:
    """A context manager; while it is open, events go by."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._stack = ExitStack()
        self._status = self._console.status("starting") if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._stack.enter_context(self._status)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def doing(self, text: str) -> None:
        """What is worked on now: behind the spinner, or a line."""
        if self._status:
            self._status.update(text)
        else:
            self.say(text)

    def plan(self, plan: Mapping[str, Any]) -> None:
        """The plan, before anything is started."""
        self.say(f"MultiDB in {plan['home']}, about {plan['megabytes'] / GIGABYTE:.1f} GB of memory")
        for row in plan["rows"]:
            whose = " (yours)" if row["kind"] == "yours" else ""
            self.say(f"  {row['name']:<22}{row['url']}{whose}")

    def event(self, event: Mapping[str, Any]) -> None:
        """Something the supervisor told."""
        process, text = event["process"], event["event"]
        if text in QUIET:
            return
        if event["kind"] == "progress" and self._status:
            self._status.update(text)
        elif text == "ready":
            self.say(f"  {process} {'done' if event['kind'] == 'one-shot' else 'ready'} after {event['seconds']:.1f} s")
        else:
            self.say(f"  {process}: {text}")
