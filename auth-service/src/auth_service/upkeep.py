"""What the service does beside its requests: reload keys, take back expired leases, forget what has expired."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from shared.background import Background
from shared.errors import ServiceError

log = structlog.get_logger()


class Upkeep:
    """Runs each job at its own pace until closed. Several replicas may do the same work: every job is idempotent."""

    def __init__(self, jobs: Mapping[str, tuple[timedelta, Callable[[], Awaitable[object]]]]) -> None:
        self._jobs = jobs
        self._background = Background()

    async def start(self) -> None:
        """Do every job once, so that a service that has started is ready, and go on with each."""
        await asyncio.gather(*(self._run(name, job) for name, (_, job) in self._jobs.items()))
        for name in self._jobs:
            self._background.keep(functools.partial(self._repeat, name), f"upkeep of {name}")

    async def close(self) -> None:
        """Stop every job."""
        await self._background.close()

    async def _repeat(self, name: str) -> None:
        pace, job = self._jobs[name]
        while True:
            await asyncio.sleep(pace.total_seconds())
            await self._run(name, job)

    @staticmethod
    async def _run(name: str, job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except ServiceError as error:
            log.info("upkeep_put_off", job=name, error=error.code)
        except Exception as error:
            log.error("upkeep_failed", job=name, error=repr(error), exc_info=error)
