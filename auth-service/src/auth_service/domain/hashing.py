"""Threads for password hashing: few, niced and bounded, so that a flood of logins cannot slow everything else."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from auth_service.domain.waiting_line import Place, WaitingLine

Result = TypeVar("Result")

NICENESS = 10
"""Steps below the rest of the process, however nice that is itself: nobody may take a step up."""
LOWEST = 19
FIRST_COST = timedelta(milliseconds=60)
"""What a hash is taken to cost until some have been measured."""
LONGEST = 2
"""Times the patience: a machine that has become slower since somebody was let in does not keep them for ever."""


def _be_nice() -> None:
    """Lower this thread alone; where a system only knows the niceness of processes, leave it."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(LOWEST, own + NICENESS))


class HashingPool:
    """Runs a function in one of `threads` threads; who would wait longer than `patience` gets Overloaded (503) at once.

    Somebody who is known comes before strangers, so that a flood of guesses does not keep people out.
    """

    def __init__(self, *, threads: int, patience: timedelta) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="hashing", initializer=_be_nice)
        self._line = WaitingLine(servers=threads, patience=patience, cost=FIRST_COST)
        self._longest = LONGEST * patience
        self._turns: dict[Place, asyncio.Future[None]] = {}

    async def run(self, work: Callable[[], Result], *, is_known: bool = False) -> Result:
        """The result of `work`. A caller that went away while waiting costs nothing: its work is not begun."""
        place, sent_away = self._line.join(is_known=is_known)
        for one in sent_away:
            self._turns[one].set_exception(self._line.overloaded(is_known=False))
        await self._turn(place)
        job = self._executor.submit(_timed, work)
        loop = asyncio.get_running_loop()
        job.add_done_callback(lambda done: self._tell(loop, place, done))
        result, _ = await asyncio.wrap_future(job)
        return result

    def refuse_full(self) -> None:
        """Raises Overloaded when not even somebody who is known could be served in time."""
        self._line.refuse_full(is_known=True)

    def close(self) -> None:
        """Stop the threads once what runs has ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, place: Place) -> None:
        turn = self._turns[place] = asyncio.get_running_loop().create_future()
        self._call_next()
        try:
            async with asyncio.timeout(self._longest.total_seconds()):
                await turn
        except TimeoutError:
            self._leave(place, None)
            raise self._line.overloaded(is_known=place.is_known) from None
        except BaseException:
            self._leave(place, None)
            raise
        finally:
            del self._turns[place]

    def _call_next(self) -> None:
        while (place := self._line.take()) is not None:
            turn = self._turns[place]
            if turn.done():  # cancelled in this very turn of the loop
                self._line.leave(place)
            else:
                turn.set_result(None)

    def _tell(self, loop: asyncio.AbstractEventLoop, place: Place, done: "Future[tuple[Any, timedelta]]") -> None:
        """A thread has ended its work, whether or not somebody still waits for it."""
        cost = None if done.cancelled() or done.exception() else done.result()[1]
        with suppress(RuntimeError):  # the loop was closed: the process ends
            loop.call_soon_threadsafe(self._leave, place, cost)

    def _leave(self, place: Place, cost: timedelta | None) -> None:
        self._line.leave(place, cost)
        self._call_next()


def _timed(work: Callable[[], Result]) -> tuple[Result, timedelta]:
    began = time.perf_counter()
    return work(), timedelta(seconds=time.perf_counter() - began)
