"""Running a task: attempts with a fencing number, retries with full jitter, and one end."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from shared.errors import CapabilityUnavailable, DeadlineExceeded, Overloaded, ServiceError, UpstreamFailed
from task_worker.domain.report import Report
from task_worker.domain.task import Attempt, AttemptSuperseded, Event, Failure, Kind, TaskImpossible

log = structlog.get_logger()

AWAY = (CapabilityUnavailable, UpstreamFailed, DeadlineExceeded, Overloaded)
"""A neighbour is not there at the moment, which says nothing about the task."""
MAX_LOST = 5
"""Workers that may die under a task before it counts as what kills them."""
PERSIST_TRIES = 20
PERSIST_PAUSE = timedelta(milliseconds=500)

Progress = Callable[[int, str], Awaitable[None]]
Handler = Callable[[Attempt, Progress], Awaitable[Report]]


class Work(Protocol):
    """Where attempts are recorded; every write raises AttemptSuperseded when its attempt is not the latest."""

    async def begin(self, organization_id: str, task_id: UUID, worker: str) -> Attempt | None:
        """Take the task over from whoever had it; None when it has ended."""
        ...

    async def note_progress(self, attempt: Attempt, percent: int, step: str) -> None:
        """Say how far it is."""
        ...

    async def succeed(self, attempt: Attempt, report: Report, event: Event) -> None:
        """Result, end, event and charge in one transaction; raises ResultNotStorable for one that cannot be kept."""
        ...

    async def fail(self, attempt: Attempt, failure: Failure, event: Event) -> None:
        """End, event and refund in one transaction."""
        ...

    async def postpone(self, attempt: Attempt, failure: Failure, *, counts: bool) -> None:
        """Back to the queue after a failure; `counts` towards the limit of failures."""
        ...

    async def hand_back(self, attempt: Attempt) -> None:
        """Back to the queue because this worker stops; does nothing when superseded."""
        ...


@dataclass(frozen=True, slots=True)
class Retries:
    """When to try again, and when not to."""

    base: timedelta
    cap: timedelta
    max_failures: int
    patience: timedelta

    def wait(self, number: int) -> timedelta:
        """Full jitter: anything up to the doubled bound, so that retries of many never come together."""
        bound = min(self.cap.total_seconds(), self.base.total_seconds() * 2 ** min(number, 20))
        return timedelta(seconds=random.uniform(0, bound))  # noqa: S311 - jitter guards nothing


class Execution:
    """What happens when a worker gets the job of a task."""

    def __init__(
        self,
        work: Work,
        handlers: Mapping[Kind, Handler],
        retries: Retries,
        *,
        worker: str,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called when there is something to deliver."""
        self._work = work
        self._handlers = handlers
        self._retries = retries
        self._worker = worker
        self._ended = ended

    async def run_task(self, organization_id: str, task_id: UUID) -> timedelta | None:
        """Work on a task; the time to wait before the next attempt, or None when there is none."""
        attempt = await self._work.begin(organization_id, task_id, self._worker)
        if attempt is None:
            return None
        try:
            return await self._attempt(attempt)
        except AttemptSuperseded:
            log.info("attempt_superseded", task_id=str(task_id), attempt=attempt.number)
            return None
        except asyncio.CancelledError:
            await asyncio.shield(self._work.hand_back(attempt))
            raise

    async def _attempt(self, attempt: Attempt) -> timedelta | None:
        if attempt.lost >= MAX_LOST:
            await self._dead_letter(attempt, Failure("worker_lost", f"{attempt.lost} workers died running it."))
            return None
        try:
            report = await self._handlers[attempt.kind](attempt, self._progress_of(attempt))
            await self._persist(lambda: self._work.succeed(attempt, report, _success_event(attempt, report)))
        except TaskImpossible as error:
            await self._dead_letter(attempt, Failure(error.code, error.detail))
            return None
        except AttemptSuperseded:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost loop of the worker: any failure is an attempt's failure
            return await self._failed(attempt, error)
        self._ended()
        return None

    async def _failed(self, attempt: Attempt, error: Exception) -> timedelta | None:
        failure = _failure(error)
        is_away = isinstance(error, AWAY)
        log.warning(
            "attempt_failed",
            task_id=str(attempt.task_id),
            attempt=attempt.number,
            error=repr(error),
            exc_info=None if is_away else error,
        )
        too_often = not is_away and attempt.failures + 1 >= self._retries.max_failures
        too_long = is_away and datetime.now(UTC) - attempt.created_at > self._retries.patience
        if too_often or too_long:
            await self._dead_letter(attempt, failure)
            return None
        await self._persist(lambda: self._work.postpone(attempt, failure, counts=not is_away))
        return self._retries.wait(attempt.failures if not is_away else attempt.number)

    async def _dead_letter(self, attempt: Attempt, failure: Failure) -> None:
        log.error("task_dead_lettered", task_id=str(attempt.task_id), attempt=attempt.number, code=failure.code)
        await self._persist(lambda: self._work.fail(attempt, failure, _failure_event(attempt, failure)))
        self._ended()

    def _progress_of(self, attempt: Attempt) -> Progress:
        async def progress(percent: int, step: str) -> None:
            try:
                await self._work.note_progress(attempt, percent, step)
            except CapabilityUnavailable:
                log.info("progress_unrecorded", task_id=str(attempt.task_id))

        return progress

    async def _persist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write the end of an attempt, waiting out a short outage rather than doing the work again."""
        for _ in range(PERSIST_TRIES - 1):
            try:
                return await write()
            except CapabilityUnavailable:
                await asyncio.sleep(PERSIST_PAUSE.total_seconds())
        return await write()


def _failure(error: Exception) -> Failure:
    if isinstance(error, ServiceError):
        return Failure(error.code, error.detail)
    return Failure("internal_error", f"The work ended in an unexpected {type(error).__name__}.")


def _success_event(attempt: Attempt, report: Report) -> Event:
    title = {"analyze": "Your analysis is ready", "research": "Your research is ready"}[attempt.kind]
    return _event(attempt, "task.succeeded", title, report.summary)


def _failure_event(attempt: Attempt, failure: Failure) -> Event:
    title = {"analyze": "Your analysis failed", "research": "Your research failed"}[attempt.kind]
    return _event(attempt, "task.failed", title, failure.detail)


def _event(attempt: Attempt, event_type: str, title: str, body: str) -> Event:
    return Event(
        event_id=f"task:{attempt.task_id}:ended",
        organization_id=attempt.organization_id,
        user_id=attempt.user_id,
        type=event_type,
        title=title,
        body=body[:1_000],
        data={"task_id": str(attempt.task_id), "kind": attempt.kind},
        occurred_at=datetime.now(UTC),
    )
