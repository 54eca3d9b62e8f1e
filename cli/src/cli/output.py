"""What a command shows: results on standard output, everything else on standard error.

What the server wrote (answers, reports, questions) is shown word for word: no line is broken here, because a break in
the middle of an address or a command changes it. A terminal wraps long lines by itself.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 100_000  # columns of a pipe or a file: nothing is wrapped or cut off there
KEPT = "\n\t"


@cache
def out() -> Console:
    """Results."""
    return _console()


@cache
def err() -> Console:
    """Progress and errors."""
    return _console(stderr=True)


def say(*texts: str | Text, style: str | None = None, to: Console | None = None) -> None:
    """One line of our own, unbroken, on standard output unless told otherwise."""
    console = to or out()
    console.print(Text(" ").join(Text.assemble(text) for text in texts), style=style, soft_wrap=True)


def complain(error: object, style: str = "red") -> None:
    """One line on standard error."""
    say(str(error), style=style, to=err())


def verbatim(text: str) -> None:
    """Text from the server, as it is; a terminal gets no control characters, which would move its cursor or worse."""
    shown = _printable(text) if sys.stdout.isatty() else text
    sys.stdout.write(shown if shown.endswith("\n") else f"{shown}\n")


def print_markdown(markdown: str) -> None:
    """A report: laid out on a terminal, as it was written elsewhere."""
    if not out().is_terminal:
        verbatim(markdown)
        return
    from rich.markdown import Markdown

    out().print(Markdown(markdown))


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON
    """One JSON document, for programs."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


@contextmanager
def spinner(words: str) -> Iterator[None]:
    """A spinner on a terminal, nothing elsewhere."""
    if err().is_terminal:
        with err().status(words):
            yield
    else:
        yield


def print_reply(reply: dict[str, Any]) -> None:
    """A chat reply for a person: the text, how sure it is, where it comes from, what else might fit."""
    verbatim(reply["reply"])
    answer = reply.get("answer")
    notes = []
    if answer:
        notes.append(f"{reply['confidence']:.0%} sure")
        notes.append(f"from: {answer['question']} (version {answer['version']})")
    if reply.get("degraded"):
        notes.append(f"degraded: {', '.join(reply['degraded'])}")
    if notes:
        say(" · ".join(notes), style="dim")
    if reply.get("suggestions") and not answer:
        say("Perhaps you meant:", style="dim")
        for suggestion in reply["suggestions"]:
            say(f"  • {suggestion['question']}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or a sentence when there is nothing in it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    if table.row_count:
        out().print(table)
    else:
        say(empty, style="dim")


def print_history(messages: Iterable[dict[str, Any]]) -> None:
    """A conversation, oldest first."""
    for message in messages:
        mine = message["role"] == "user"
        out().print(Text("You: " if mine else "Bot: ", style="bold cyan" if mine else "bold green"), end="")
        verbatim(message["text"])
        rated = {"up": "  👍", "down": "  👎"}.get(message.get("rating") or "", "")
        say(f"     {short_time(message['created_at'])}{rated}", style="dim")


def short_time(text: str | None) -> str:
    """A server time as local date and minute."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M") if text else ""


def print_what_can_be_shown() -> None:
    """Let no character that the terminal's encoding lacks end a command: it becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _console(*, stderr: bool = False) -> Console:
    stream: TextIO = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(stderr=stderr, highlight=False, width=width)


def _printable(text: str) -> str:
    return "".join(c for c in text if c in KEPT or unicodedata.category(c) != "Cc")
