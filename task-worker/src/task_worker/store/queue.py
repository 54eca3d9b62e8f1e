"""procrastinate's queue over our own PostgreSQL pool, with what keeps a dead or thawed worker from doing harm.

procrastinate's connector for psycopg has no time limit per statement, so a frozen server would hold a worker for ever;
this one runs its statements on the pool that has limits and a breaker.
"""

import asyncio
import functools
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import structlog
from procrastinate import connector, exceptions, jobs, manager

from shared.errors import CapabilityUnavailable
from shared.postgres import AWAY, CONNECT, STATEMENT, Postgres
from shared.settings import PostgresSettings
from task_worker.store.delivery import housekeeping
from task_worker.store.tasks import JOB, QUEUE

log = structlog.get_logger()

PLACEHOLDER = re.compile(r"%\((\w+)\)s")
LISTEN_CHECK = timedelta(seconds=10)
LISTEN_PAUSE = timedelta(seconds=1)

FINISH = "DELETE FROM procrastinate_jobs WHERE id = $1 AND status = 'doing' AND worker_id = $2"
RETRY = """
WITH again AS (
    UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1, scheduled_at = $3, worker_id = NULL
    WHERE id = $1 AND status = 'doing' AND worker_id = $2 AND NOT abort_requested
    RETURNING id)
SELECT pg_notify($4, json_build_object('type', 'job_inserted', 'job_id', id)::text) FROM again"""
HEARTBEAT = "UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = $1"
RESCUE = """
WITH lost AS (
    SELECT job.id FROM procrastinate_jobs AS job
    LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
    WHERE job.status = 'doing' AND job.queue_name = $1
      AND (worker.id IS NULL OR worker.last_heartbeat < now() - $2::interval)
    FOR UPDATE OF job SKIP LOCKED),
again AS (
    UPDATE procrastinate_jobs AS job
    SET status = 'todo', attempts = attempts + 1, worker_id = NULL, abort_requested = false,
        scheduled_at = CASE WHEN job.attempts = 0 THEN NULL
                            ELSE now() + $2::interval * power(3, least(job.attempts, 3) - 1) END
    FROM lost WHERE job.id = lost.id
    RETURNING job.id)
SELECT pg_notify($3, json_build_object('type', 'job_inserted', 'job_id', id)::text) FROM again"""
ENQUEUE_LOST = """
UPDATE tasks SET job_id = (procrastinate_defer_jobs_v1(ARRAY[
    ROW($1, $2, 0, NULL, NULL, jsonb_build_object('organization_id', organization_id, 'task_id', id), NULL
    )::procrastinate_job_to_defer_v1]))[1]
WHERE (organization_id, id) IN (
    SELECT organization_id, id FROM tasks
    WHERE status IN ('queued', 'running') AND created_at < now() - $3::interval
      AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS job WHERE job.id = job_id AND job.status IN ('todo', 'doing'))
    LIMIT 100 FOR UPDATE SKIP LOCKED)"""


class WorkerForgotten(RuntimeError):
    """This worker was silent for so long that it counts as dead: it has to register again."""


@functools.cache
def _numbered(query: str) -> tuple[str, tuple[str, ...]]:
    """A statement of procrastinate with $1, $2 ... and the names of its arguments in that order."""
    names = tuple(dict.fromkeys(PLACEHOLDER.findall(query)))
    return PLACEHOLDER.sub(lambda match: f"${names.index(match[1]) + 1}", query), names


def _row(record: asyncpg.Record) -> dict[str, Any]:
    row = dict(record)
    if isinstance(row.get("args"), str):
        row["args"] = orjson.loads(row["args"])
    return row


class AsyncpgConnector(connector.BaseAsyncConnector):
    """What procrastinate needs of a database, on asyncpg."""

    def __init__(self, postgres: Postgres, settings: PostgresSettings) -> None:
        self._postgres = postgres
        self._settings = settings

    async def open_async(self, pool: connector.Pool | None = None) -> None:
        """Nothing to open: the pool belongs to the process."""

    async def close_async(self) -> None:
        """Nothing to close: the pool belongs to the process."""

    async def execute_query_async(self, query: str, **arguments: Any) -> None:  # noqa: ANN401 - any SQL value
        """Run a statement."""
        await self.execute_query_all_async(query, **arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """The first row of a statement."""
        rows = await self.execute_query_all_async(query, **arguments)
        if not rows:
            raise exceptions.NoResult
        return rows[0]

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as above
        """All rows of a statement."""
        statement, names = _numbered(query)
        async with self._postgres.connection() as connection:
            rows = await connection.fetch(statement, *(arguments[name] for name in names))
        return [_row(row) for row in rows]

    async def listen_notify(self, on_notification: connector.Notify, channels: Iterable[str]) -> None:
        """Listen on a connection of its own until cancelled; polling covers the moments without one."""
        names = list(channels)
        while True:
            try:
                await self._listen(on_notification, names)
            except AWAY as error:
                log.info("queue_unheard", error=repr(error))
            await asyncio.sleep(LISTEN_PAUSE.total_seconds())

    async def _listen(self, on_notification: connector.Notify, channels: list[str]) -> None:
        settings = self._settings
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        connection = await asyncpg.connect(
            host=settings.postgres_host,
            port=settings.postgres_port,
            database=settings.postgres_db,
            user=settings.postgres_app_user,
            password=settings.postgres_app_password.get_secret_value(),
            timeout=CONNECT.total_seconds(),
            command_timeout=STATEMENT.total_seconds(),
        )
        try:
            for channel in channels:
                await connection.add_listener(
                    channel, lambda _c, _pid, name, payload: heard.put_nowait((name, payload))
                )
            while True:
                try:
                    async with asyncio.timeout(LISTEN_CHECK.total_seconds()):
                        name, payload = await heard.get()
                except TimeoutError:
                    await connection.fetchval("SELECT 1")  # a frozen or vanished server is noticed here
                else:
                    await on_notification(channel=name, payload=payload)
        finally:
            connection.terminate()


class FencedJobs(manager.JobManager):
    """procrastinate's bookkeeping where a worker may end or retry a job only while the job is still its own.

    The original looks at the job's status alone, so a thawed worker would end a job that another one runs.
    """

    def __init__(self, connector: AsyncpgConnector, postgres: Postgres) -> None:
        super().__init__(connector)
        self._postgres = postgres
        self._channel = next(iter(manager.get_channel_for_queues([QUEUE])))

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:  # noqa: FBT001, ARG002 - procrastinate's signature
        """Forget the job: the task's own row says how it ended."""
        async with self._postgres.connection() as connection:
            await connection.execute(FINISH, job.id, job.worker_id)

    async def retry_job(
        self,
        job: jobs.Job,
        retry_at: datetime | None = None,
        priority: int | None = None,  # noqa: ARG002 - procrastinate's signature
        queue: str | None = None,  # noqa: ARG002 - procrastinate's signature
        lock: str | None = None,  # noqa: ARG002 - procrastinate's signature
    ) -> None:
        """Back to the queue, and tell the workers; a job whose task was cancelled is forgotten instead."""
        async with self._postgres.transaction() as connection:
            again = await connection.fetch(RETRY, job.id, job.worker_id, retry_at or datetime.now(UTC), self._channel)
            if not again:
                await connection.execute(FINISH, job.id, job.worker_id)

    async def update_heartbeat(self, worker_id: int) -> None:
        """Say that this worker lives; an outage of the database is no reason to stop saying so.

        Raises WorkerForgotten when the others have given it up.
        """
        try:
            async with self._postgres.connection() as connection:
                updated = await connection.execute(HEARTBEAT, worker_id)
        except CapabilityUnavailable:
            log.info("heartbeat_missed", worker_id=worker_id)
            return
        if updated != "UPDATE 1":
            raise WorkerForgotten


class Rescue:
    """Finds what dead workers left behind."""

    def __init__(self, postgres: Postgres, stalled_after: timedelta) -> None:
        self._postgres = postgres
        self._stalled_after = stalled_after
        self._channel = next(iter(manager.get_channel_for_queues([QUEUE])))

    async def rescue_lost(self) -> int:
        """Give jobs of silent workers back to the queue, and tasks without a job a new one; how many.

        The first time at once, then after 1, 3 and 9 times the silence that counts as death: five losses in a row are
        given up (domain/execution.py), and a bad minute that kills many workers must not end innocent tasks so.
        """
        async with housekeeping(self._postgres) as connection:
            rescued = len(await connection.fetch(RESCUE, QUEUE, self._stalled_after, self._channel))
            orphans = await connection.execute(ENQUEUE_LOST, QUEUE, JOB, self._stalled_after)
        return rescued + int(orphans.rpartition(" ")[2])
