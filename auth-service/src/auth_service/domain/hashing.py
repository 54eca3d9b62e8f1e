"""Threads for password hashing: few, niced and bounded, so that a flood of logins cannot slow everything else."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.errors import Overloaded

Result = TypeVar("Result")

NICENESS = 10
"""Steps below the rest of the process, however nice that is itself: nobody may take a step up."""
LOWEST = 19


def _be_nice() -> None:
    """Lower this thread alone; where a system only knows the niceness of processes, leave it."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(LOWEST, own + NICENESS))


class HashingPool:
    """Runs a function in one of `threads` threads; more than `queue` waiting raises Overloaded (503) at once."""

    def __init__(self, *, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="hashing", initializer=_be_nice)
        self._admitted = threads + queue
        self._pending = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`. A caller that went away while waiting costs nothing: its work is not begun."""
        if self._pending >= self._admitted:
            raise Overloaded
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Stop the threads once what runs has ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)
