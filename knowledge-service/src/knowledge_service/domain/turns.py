"""Taking turns: organizations share a scarce worker evenly, however much any one of them asks for."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from shared.errors import Overloaded

Waiting = TypeVar("Waiting")
Result = TypeVar("Result")


class RoundRobin(Generic[Waiting]):
    """Who is next: the organizations in turn, each with its own in the order they came."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Waiting]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def waiting(self, organization_id: str) -> int:
        """How many of an organization wait."""
        return len(self._lines.get(organization_id, ()))

    def add(self, organization_id: str, waiting: Waiting) -> None:
        """Wait behind one's own organization."""
        self._lines.setdefault(organization_id, deque()).append(waiting)

    def remove(self, organization_id: str, waiting: Waiting) -> None:
        """Give up waiting; whoever was called already is gone from here, which is fine."""
        line = self._lines.get(organization_id, deque())
        if waiting in line:
            line.remove(waiting)
        if not line:
            self._lines.pop(organization_id, None)

    def next(self) -> Waiting | None:
        """The next one, whose organization then goes to the end; None when nobody waits."""
        if not self._lines:
            return None
        organization_id, line = self._lines.popitem(last=False)
        found = line.popleft()
        if line:
            self._lines[organization_id] = line
        return found


class FairTurns:
    """At most `at_once` turns at a time; those who wait get theirs by `RoundRobin`."""

    def __init__(self, at_once: int, *, waiting_each: int, retry_after: int = 1) -> None:
        self._free = at_once
        self._waiting_each = waiting_each
        self._retry_after = retry_after
        self._lines: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._running: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def turn(self, organization_id: str) -> AsyncIterator[None]:
        """Hold a turn for the block; raises Overloaded when too many of the same organization wait already."""
        await self._take(organization_id)
        try:
            yield
        finally:
            self._give()

    async def run(self, organization_id: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do the work in a turn; it holds the turn to its end, whoever gives up waiting: a worker cannot be stopped."""
        await self._take(organization_id)
        running = asyncio.create_task(work())
        self._running.add(running)
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    def check(self, organization_id: str) -> None:
        """Raise Overloaded when one more of this organization would wait behind too many of its own."""
        if self._lines.waiting(organization_id) >= self._waiting_each:
            raise Overloaded(retry_after=self._retry_after)

    async def _take(self, organization_id: str) -> None:
        if self._free:
            self._free -= 1
            return
        self.check(organization_id)
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.add(organization_id, called)
        try:
            await called
        except asyncio.CancelledError:
            self._lines.remove(organization_id, called)
            if called.done() and not called.cancelled():
                self._give()  # called in the very turn in which it gave up
            raise

    def _ended(self, running: "asyncio.Task[Any]") -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # whoever waited was told; nobody else need hear of it
        self._give()

    def _give(self) -> None:
        """Pass the turn on."""
        called = self._lines.next()
        while called is not None and called.done():
            called = self._lines.next()
        if called is None:
            self._free += 1
        else:
            called.set_result(None)
