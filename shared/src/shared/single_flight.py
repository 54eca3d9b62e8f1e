"""One run of a piece of work for everybody who wants its result."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger()

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """At most one run per key. It goes on to its end whoever gives up waiting; its failure reaches all who wait."""

    def __init__(self) -> None:
        self._runs: dict[Key, asyncio.Task[Result]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._runs

    async def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the run under this key, which begins now unless there is one."""
        return await asyncio.shield(self.start(key, work))

    def start(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Task[Result]:
        """The run under this key, for whoever does not wait for it: then its failure is only logged."""
        task = self._runs.get(key)
        if task is None:
            task = self._runs[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: Key, task: asyncio.Task[Result]) -> None:
        del self._runs[key]
        if not task.cancelled() and task.exception() is not None:
            log.info(
                "shared_run_failed", work=getattr(task.get_coro(), "__qualname__", ""), error=repr(task.exception())
            )
