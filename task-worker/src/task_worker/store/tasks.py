"""Tasks as their owners see them: taking in, looking up, cancelling."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import orjson

from shared.errors import IdempotencyConflict, IdempotencyMismatch
from shared.postgres import Postgres
from shared.principal import Principal
from task_worker.domain.task import Failure, Key, NewTask, SubmissionOverran, Task

QUEUE = "tasks"
JOB = "run_task"
IN_TIME = timedelta(seconds=60)
"""A submission that is not a task after this time is refunded; longer than any submission may take."""
ABANDONED = timedelta(seconds=30)
"""A key whose request has not ended after this time may be claimed by the next."""
KEY_LIFE = timedelta(hours=24)
CHUNK = 512 * 1024
"""Bytes of an upload in one row: each insert stays far below the statement limit of a second."""

CLAIM_KEY = """
INSERT INTO idempotency_keys AS kept (organization_id, user_id, route, key, fingerprint, task_id)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organization_id, user_id, route, key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, task_id = EXCLUDED.task_id, is_done = false, claimed_at = now()
WHERE kept.claimed_at < now() - $7::interval
   OR (NOT kept.is_done AND kept.fingerprint = EXCLUDED.fingerprint AND kept.claimed_at < now() - $8::interval)
RETURNING task_id"""
KEPT_KEY = """
SELECT fingerprint, task_id, is_done FROM idempotency_keys
WHERE organization_id = $1 AND user_id = $2 AND route = $3 AND key = $4"""
FINISH_KEY = """
UPDATE idempotency_keys SET is_done = true
WHERE organization_id = $1 AND user_id = $2 AND route = $3 AND key = $4 AND task_id = $5"""
DROP_KEY = """
DELETE FROM idempotency_keys
WHERE organization_id = $1 AND user_id = $2 AND route = $3 AND key = $4 AND task_id = $5"""

NOTE_REFUND = """
INSERT INTO settlements (organization_id, task_id, outcome, due_at) VALUES ($1, $2, 'refund', now() + $3::interval)"""
LIFT_REFUND = """
UPDATE settlements SET outcome = NULL
WHERE organization_id = $1 AND task_id = $2 AND outcome = 'refund' AND settled_at IS NULL AND tries = 0"""
DROP_REFUND = "DELETE FROM settlements WHERE organization_id = $1 AND task_id = $2 AND settled_at IS NULL"
REFUND = """
UPDATE settlements SET outcome = 'refund', due_at = now()
WHERE organization_id = $1 AND task_id = $2 AND outcome IS NULL"""

INSERT_TASK = """
INSERT INTO tasks (organization_id, id, user_id, kind, description, upload_name, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)"""
INSERT_CHUNK = "INSERT INTO upload_chunks (organization_id, task_id, position, content) VALUES ($1, $2, $3, $4)"
DROP_CHUNKS = "DELETE FROM upload_chunks WHERE organization_id = $1 AND task_id = $2"
ENQUEUE = """
UPDATE tasks SET job_id = (procrastinate_defer_jobs_v1(ARRAY[
    ROW($3, $4, 0, NULL, NULL, $5::jsonb, NULL)::procrastinate_job_to_defer_v1]))[1]
WHERE organization_id = $1 AND id = $2"""

OF_OWNER = """
SELECT id, kind, description, status, percent, step, tasks.created_at, started_at, finished_at, error_code,
       error_detail, content
FROM tasks LEFT JOIN results ON results.organization_id = tasks.organization_id AND results.task_id = tasks.id
WHERE tasks.organization_id = $1 AND user_id = $2 AND id = $3"""
PAGE_OF_OWNER = """
SELECT id, kind, description, status, percent, step, tasks.created_at, started_at, finished_at, error_code,
       error_detail, content
FROM tasks LEFT JOIN results ON results.organization_id = tasks.organization_id AND results.task_id = tasks.id
WHERE tasks.organization_id = $1 AND user_id = $2 AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC LIMIT $4"""
CANCEL = """
UPDATE tasks SET status = 'cancelled', step = 'cancelled', finished_at = now()
WHERE organization_id = $1 AND user_id = $2 AND id = $3 AND status IN ('queued', 'running')
RETURNING job_id"""
CANCEL_ATTEMPTS = """
UPDATE attempts SET ended_at = now(), outcome = 'cancelled'
WHERE organization_id = $1 AND task_id = $2 AND ended_at IS NULL"""
CANCEL_JOB = "SELECT procrastinate_cancel_job_v1($1, true, true)"


class PostgresTasks:
    """Tasks in PostgreSQL, each with its job in the same transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim(self, new: NewTask, key: Key | None) -> UUID | None:
        """See `task_worker.domain.submission.Tasks`."""
        async with self._postgres.transaction(new.organization_id) as connection:
            if key is not None:
                made_before = await _claim_key(connection, new, key)
                if made_before is not None:
                    return made_before
            await connection.execute(NOTE_REFUND, new.organization_id, new.id, IN_TIME)
        return None

    async def admit(self, new: NewTask, key: Key | None) -> Task:
        """See `task_worker.domain.submission.Tasks`."""
        async with self._postgres.transaction(new.organization_id) as connection:
            await _exactly_one(connection, LIFT_REFUND, new.organization_id, new.id)
            if key is not None:
                await _exactly_one(connection, FINISH_KEY, *_place(new, key), new.id)
            await _insert(connection, new)
        return Task(new.id, new.kind, new.description, "queued", 0, "waiting for a worker", new.created_at)

    async def withdraw(self, new: NewTask, key: Key | None, *, maybe_reserved: bool) -> None:
        """See `task_worker.domain.submission.Tasks`."""
        async with self._postgres.transaction(new.organization_id) as connection:
            if not maybe_reserved:
                await connection.execute(DROP_REFUND, new.organization_id, new.id)
            if key is not None:
                await connection.execute(DROP_KEY, *_place(new, key), new.id)

    async def find(self, principal: Principal, task_id: UUID) -> Task | None:
        """See `task_worker.domain.submission.Tasks`."""
        async with self._postgres.transaction(principal.organization_id) as connection:
            row = await connection.fetchrow(OF_OWNER, principal.organization_id, principal.user_id, task_id)
        return None if row is None else _task(row)

    async def page(self, principal: Principal, before: UUID | None, limit: int) -> Sequence[Task]:
        """See `task_worker.domain.submission.Tasks`."""
        async with self._postgres.transaction(principal.organization_id) as connection:
            rows = await connection.fetch(PAGE_OF_OWNER, principal.organization_id, principal.user_id, before, limit)
        return [_task(row) for row in rows]

    async def cancel(self, principal: Principal, task_id: UUID) -> bool:
        """See `task_worker.domain.submission.Tasks`."""
        organization_id = principal.organization_id
        async with self._postgres.transaction(organization_id) as connection:
            row = await connection.fetchrow(CANCEL, organization_id, principal.user_id, task_id)
            if row is None:
                return False
            await connection.execute(CANCEL_ATTEMPTS, organization_id, task_id)
            await connection.execute(DROP_CHUNKS, organization_id, task_id)
            await connection.execute(REFUND, organization_id, task_id)
            await connection.execute(CANCEL_JOB, row["job_id"])
        return True


def _place(new: NewTask, key: Key) -> tuple[str, str, str, str]:
    return new.organization_id, new.user_id, key.route, key.text


async def _claim_key(connection: asyncpg.Connection, new: NewTask, key: Key) -> UUID | None:
    place = _place(new, key)
    if await connection.fetchval(CLAIM_KEY, *place, key.fingerprint, new.id, KEY_LIFE, ABANDONED) is not None:
        return None
    kept = await connection.fetchrow(KEPT_KEY, *place)
    if kept is None or (not kept["is_done"] and kept["fingerprint"] == key.fingerprint):
        raise IdempotencyConflict(retry_after=1)
    if kept["fingerprint"] != key.fingerprint:
        raise IdempotencyMismatch
    return UUID(str(kept["task_id"]))


async def _exactly_one(connection: asyncpg.Connection, statement: str, *values: object) -> None:
    if await connection.execute(statement, *values) != "UPDATE 1":
        raise SubmissionOverran


async def _insert(connection: asyncpg.Connection, new: NewTask) -> None:
    upload = new.upload
    name = upload.name if upload else None
    await connection.execute(
        INSERT_TASK, new.organization_id, new.id, new.user_id, new.kind, new.description, name, new.created_at
    )
    content = memoryview(upload.content) if upload else memoryview(b"")
    for position, start in enumerate(range(0, len(content), CHUNK)):
        await connection.execute(
            INSERT_CHUNK, new.organization_id, new.id, position, bytes(content[start : start + CHUNK])
        )
    arguments = orjson.dumps({"organization_id": new.organization_id, "task_id": str(new.id)}).decode()
    await connection.execute(ENQUEUE, new.organization_id, new.id, QUEUE, JOB, arguments)


def _task(row: asyncpg.Record) -> Task:
    return Task(
        id=UUID(str(row["id"])),
        kind=row["kind"],
        description=row["description"],
        status=row["status"],
        percent=row["percent"],
        step=row["step"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        result=None if row["content"] is None else orjson.loads(row["content"]),
        error=None if row["error_code"] is None else Failure(row["error_code"], row["error_detail"]),
    )
