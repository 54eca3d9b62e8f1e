"""Tasks as their workers see them: attempts under a fencing number, results, and what the end of a task sets off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import orjson

from shared.postgres import Postgres
from task_worker.domain.report import Report
from task_worker.domain.task import Attempt, AttemptSuperseded, Event, Failure, ResultNotStorable, Settlement

TAKE_OVER = """
UPDATE tasks SET status = 'running', attempt = attempt + 1, started_at = coalesce(started_at, now()), step = 'starting'
WHERE organization_id = $1 AND id = $2 AND status IN ('queued', 'running')
RETURNING user_id, kind, description, attempt, failures, upload_name, created_at"""
LOSE_OTHERS = """
UPDATE attempts SET ended_at = now(), outcome = 'lost', reason = 'the worker died or was too slow to say that it lives'
WHERE organization_id = $1 AND task_id = $2 AND ended_at IS NULL"""
COUNT_LOST = "SELECT count(*) FROM attempts WHERE organization_id = $1 AND task_id = $2 AND outcome = 'lost'"
BEGIN = "INSERT INTO attempts (organization_id, task_id, number, worker) VALUES ($1, $2, $3, $4)"

PROGRESS = """
UPDATE tasks SET percent = $4, step = $5
WHERE organization_id = $1 AND id = $2 AND attempt = $3 AND status = 'running'"""
FINISH = """
UPDATE tasks SET status = $4, percent = CASE WHEN $4 = 'succeeded' THEN 100 ELSE percent END, step = $5,
       error_code = $6, error_detail = $7, finished_at = now()
WHERE organization_id = $1 AND id = $2 AND attempt = $3 AND status = 'running'"""
REQUEUE = """
UPDATE tasks SET status = 'queued', percent = 0, step = $4, failures = failures + $5
WHERE organization_id = $1 AND id = $2 AND attempt = $3 AND status = 'running'"""
END_ATTEMPT = """
UPDATE attempts SET ended_at = now(), outcome = $4, reason = $5
WHERE organization_id = $1 AND task_id = $2 AND number = $3"""
RESULT = "INSERT INTO results (organization_id, task_id, attempt, content) VALUES ($1, $2, $3, $4::jsonb)"
DROP_CHUNKS = "DELETE FROM upload_chunks WHERE organization_id = $1 AND task_id = $2"
CHUNKS = """
SELECT content FROM upload_chunks WHERE organization_id = $1 AND task_id = $2 AND position >= $3
ORDER BY position LIMIT 4"""
SETTLE = """
UPDATE settlements SET outcome = $3, due_at = now()
WHERE organization_id = $1 AND task_id = $2 AND outcome IS NULL"""
PUT_OUT = """
INSERT INTO outbox (organization_id, event_id, user_id, type, title, body, data, occurred_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8)"""

REFUSED = (orjson.JSONEncodeError, asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""What says that a result itself cannot be stored: no JSON, a NUL in a text, too large for a field."""


class PostgresWork:
    """Attempts in PostgreSQL. Every write is conditional on the attempt number: a thawed worker changes nothing."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def begin(self, organization_id: str, task_id: UUID, worker: str) -> Attempt | None:
        """See `task_worker.domain.execution.Work`."""
        async with self._postgres.transaction(organization_id) as connection:
            row = await connection.fetchrow(TAKE_OVER, organization_id, task_id)
            if row is None:
                return None
            await connection.execute(LOSE_OTHERS, organization_id, task_id)
            await connection.execute(BEGIN, organization_id, task_id, row["attempt"], worker)
            lost = await connection.fetchval(COUNT_LOST, organization_id, task_id)
        return Attempt(
            organization_id,
            row["user_id"],
            task_id,
            number=row["attempt"],
            kind=row["kind"],
            description=row["description"],
            created_at=row["created_at"],
            failures=row["failures"],
            lost=lost,
            upload_name=row["upload_name"],
        )

    async def note_progress(self, attempt: Attempt, percent: int, step: str) -> None:
        """See `task_worker.domain.execution.Work`."""
        async with self._postgres.transaction(attempt.organization_id) as connection:
            await _fenced(connection, PROGRESS, *_name(attempt), percent, step)

    async def succeed(self, attempt: Attempt, report: Report, event: Event) -> None:
        """See `task_worker.domain.execution.Work`."""
        try:
            content = orjson.dumps(report.as_json(), option=orjson.OPT_NON_STR_KEYS).decode()
            async with self._ending(attempt, "succeeded", None) as connection:
                await connection.execute(RESULT, *_name(attempt), content)
                await _end(connection, attempt, "commit", event)
        except REFUSED as error:
            raise ResultNotStorable from error

    async def fail(self, attempt: Attempt, failure: Failure, event: Event) -> None:
        """See `task_worker.domain.execution.Work`."""
        async with self._ending(attempt, "failed", failure) as connection:
            await _end(connection, attempt, "refund", event)

    async def postpone(self, attempt: Attempt, failure: Failure, *, counts: bool) -> None:
        """See `task_worker.domain.execution.Work`."""
        async with self._postgres.transaction(attempt.organization_id) as connection:
            await _fenced(connection, REQUEUE, *_name(attempt), f"waiting to try again: {failure.code}", int(counts))
            outcome = "failed" if counts else "postponed"
            await connection.execute(END_ATTEMPT, *_name(attempt), outcome, f"{failure.code}: {failure.detail}")

    async def hand_back(self, attempt: Attempt) -> None:
        """See `task_worker.domain.execution.Work`."""
        async with self._postgres.transaction(attempt.organization_id) as connection:
            try:
                await _fenced(connection, REQUEUE, *_name(attempt), "waiting for another worker", 0)
            except AttemptSuperseded:
                return
            await connection.execute(END_ATTEMPT, *_name(attempt), "handed_back", "the worker was asked to stop")

    async def upload_of(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """The pieces of the uploaded file in order, a few at a time so that a large file needs little memory."""
        position = 0
        while True:
            async with self._postgres.transaction(attempt.organization_id) as connection:
                rows = await connection.fetch(CHUNKS, attempt.organization_id, attempt.task_id, position)
            for row in rows:
                yield row["content"]
            if not rows:
                return
            position += len(rows)

    @asynccontextmanager
    async def _ending(
        self, attempt: Attempt, status: str, failure: Failure | None
    ) -> AsyncIterator[asyncpg.Connection]:
        """The transaction in which a task ends, opened by the fence."""
        code, detail = (failure.code, failure.detail) if failure else (None, None)
        reason = f"{code}: {detail}" if failure else None
        async with self._postgres.transaction(attempt.organization_id) as connection:
            await _fenced(connection, FINISH, *_name(attempt), status, status, code, detail)
            await connection.execute(END_ATTEMPT, *_name(attempt), status, reason)
            yield connection


def _name(attempt: Attempt) -> tuple[str, UUID, int]:
    return attempt.organization_id, attempt.task_id, attempt.number


async def _fenced(connection: asyncpg.Connection, statement: str, *values: object) -> None:
    if await connection.execute(statement, *values) != "UPDATE 1":
        raise AttemptSuperseded


async def _end(connection: asyncpg.Connection, attempt: Attempt, outcome: Settlement, event: Event) -> None:
    organization_id, task_id, _ = _name(attempt)
    await connection.execute(DROP_CHUNKS, organization_id, task_id)
    await connection.execute(SETTLE, organization_id, task_id, outcome)
    await connection.execute(
        PUT_OUT,
        event.organization_id,
        event.event_id,
        event.user_id,
        event.type,
        event.title,
        event.body,
        orjson.dumps(event.data).decode(),
        event.occurred_at,
    )
