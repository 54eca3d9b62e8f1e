"""The one owner of what a process does beside its requests: loops kept for as long as it lives, and jobs done once."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Protocol, Self, TypeVar

import structlog
from prometheus_client import Counter

from shared.errors import ServiceError

log = structlog.get_logger()

Result = TypeVar("Result")
Loop = Callable[[], Coroutine[Any, Any, None]]

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_PAUSE = timedelta(seconds=10)
"""Between the end of a loop and its next start: doubled every time, with jitter, until it has run for that long."""
CANCEL_AGAIN = timedelta(seconds=1)

# One count for the process, whoever owns the work: every registry of this process offers it (shared.metrics).
ENDED = Counter(
    "background_work_ended", "Loops that should have gone on, and jobs that failed.", ("work",), registry=None
)


class Background:
    """Owns background work. When it is closed, or its `async with` block ends, everything has really ended."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __len__(self) -> int:
        """How much is running."""
        return len(self._tasks)

    def keep(self, loop: Loop, name: str = "") -> None:
        """Run `loop` for as long as this lives: one that ends is reported, and starts again after a pause."""
        self._own(self._keep(loop, name or _name_of(loop)))

    def spawn(self, job: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Run `job` once; its failure is reported, whether or not somebody waits for the task."""
        task = self._own(job)
        task.add_done_callback(_report)
        return task

    async def close(self) -> None:
        """Cancel everything, and again until it has ended.

        Once is not enough: a task that is cancelled in the turn in which what it waits for arrives or times out may
        never hear of it (`asyncio.wait_for` before Python 3.12, and httpx2 where a connection is refused).
        The pause leaves a task time to clean up.
        """
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CANCEL_AGAIN.total_seconds())

    def _own(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the event loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep(self, loop: Loop, name: str) -> None:
        pause = FIRST_PAUSE.total_seconds()
        while True:
            began = time.monotonic()
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 - the outermost loop of all background work
                _count(name, error)
            else:
                _count(name, None)
            if time.monotonic() - began > LONGEST_PAUSE.total_seconds():
                pause = FIRST_PAUSE.total_seconds()
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter guards nothing
            pause = min(pause * 2, LONGEST_PAUSE.total_seconds())


class Startable(Protocol):
    """What connects at the start of a process and lets go at its end."""

    async def start(self) -> None:
        """Connect, or begin to try."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


async def start_all(stack: AsyncExitStack, *parts: Startable) -> None:
    """Start the parts one after another; `stack` closes them in the opposite order, also when one does not start."""
    for part in parts:
        stack.push_async_callback(part.close)
        await part.start()


def _name_of(work: object) -> str:
    named = getattr(work, "func", work)  # behind a partial
    return str(getattr(named, "__qualname__", type(work).__name__))


def _report(job: asyncio.Task[Any]) -> None:
    error = None if job.cancelled() else job.exception()
    if error is not None:
        _count(_name_of(job.get_coro()), error)


def _count(name: str, error: BaseException | None) -> None:
    ENDED.labels(name).inc()
    if isinstance(error, ServiceError):
        log.error("background_work_ended", work=name, error=repr(error))
    else:
        log.error("background_work_ended", work=name, error=repr(error), exc_info=error)
