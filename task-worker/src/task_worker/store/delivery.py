"""What neighbours still have to be told: the outbox of events and the settlements of reserved quota."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import orjson

from shared.postgres import Postgres
from task_worker.domain.task import Event, Settling

HOUSEKEEPING = "SELECT set_config('app.housekeeping', 'on', true)"

CLAIM_EVENTS = """
UPDATE outbox SET due_at = now() + $2::interval, tries = tries + 1
WHERE (organization_id, event_id) IN (
    SELECT organization_id, event_id FROM outbox WHERE delivered_at IS NULL AND due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING organization_id, event_id, user_id, type, title, body, data, occurred_at, tries"""
DELIVERED = """
UPDATE outbox SET delivered_at = now()
WHERE organization_id = $1 AND event_id = $2 AND delivered_at IS NULL"""
DELAY_EVENT = """
UPDATE outbox SET due_at = now() + $3::interval
WHERE organization_id = $1 AND event_id = $2 AND delivered_at IS NULL"""
EVENTS_SINCE = """
SELECT organization_id, event_id, user_id, type, title, body, data, occurred_at, tries FROM outbox
WHERE occurred_at >= $1 AND ($2::timestamptz IS NULL OR (occurred_at, event_id) > ($2, $3))
ORDER BY occurred_at, event_id LIMIT $4"""
FORGET_EVENTS = "DELETE FROM outbox WHERE occurred_at < now() - $1::interval AND delivered_at IS NOT NULL"

CLAIM_SETTLEMENTS = """
UPDATE settlements SET due_at = now() + $2::interval, tries = tries + 1
WHERE (organization_id, task_id) IN (
    SELECT organization_id, task_id FROM settlements
    WHERE settled_at IS NULL AND outcome IS NOT NULL AND due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING organization_id, task_id, outcome, tries"""
SETTLED = "UPDATE settlements SET settled_at = now() WHERE organization_id = $1 AND task_id = $2"
DELAY_SETTLEMENT = """
UPDATE settlements SET due_at = now() + $3::interval
WHERE organization_id = $1 AND task_id = $2 AND settled_at IS NULL"""
FORGET_SETTLEMENTS = "DELETE FROM settlements WHERE settled_at < now() - $1::interval"
FORGET_KEYS = "DELETE FROM idempotency_keys WHERE claimed_at < now() - interval '25 hours'"


@asynccontextmanager
async def housekeeping(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that sees the rows of every organization in the tables that relays and sweeps work on."""
    async with postgres.transaction() as connection:
        await connection.execute(HOUSEKEEPING)
        yield connection


class PostgresDelivery:
    """Outbox and settlements in PostgreSQL; a claim is a lease, so a dead or frozen relay blocks nobody."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim_events(self, limit: int, lease: timedelta) -> Sequence[Event]:
        """See `task_worker.domain.delivery.Outbox`."""
        async with housekeeping(self._postgres) as connection:
            rows = await connection.fetch(CLAIM_EVENTS, limit, lease)
        return sorted((_event(row) for row in rows), key=lambda event: event.occurred_at)

    async def mark_delivered(self, event: Event) -> None:
        """See `task_worker.domain.delivery.Outbox`."""
        async with self._postgres.transaction(event.organization_id) as connection:
            await connection.execute(DELIVERED, event.organization_id, event.event_id)

    async def delay_event(self, event: Event, wait: timedelta) -> None:
        """See `task_worker.domain.delivery.Outbox`."""
        async with self._postgres.transaction(event.organization_id) as connection:
            await connection.execute(DELAY_EVENT, event.organization_id, event.event_id, wait)

    async def events_since(self, since: datetime, after: tuple[datetime, str] | None, limit: int) -> Sequence[Event]:
        """Events of all organizations, the oldest first, from `since` on and behind `after`."""
        moment, event_id = after or (None, "")
        async with housekeeping(self._postgres) as connection:
            rows = await connection.fetch(EVENTS_SINCE, since, moment, event_id, limit)
        return [_event(row) for row in rows]

    async def claim_settlements(self, limit: int, lease: timedelta) -> Sequence[Settling]:
        """See `task_worker.domain.delivery.Settlements`."""
        async with housekeeping(self._postgres) as connection:
            rows = await connection.fetch(CLAIM_SETTLEMENTS, limit, lease)
        return [Settling(r["organization_id"], UUID(str(r["task_id"])), r["outcome"], r["tries"]) for r in rows]

    async def mark_settled(self, settling: Settling) -> None:
        """See `task_worker.domain.delivery.Settlements`."""
        async with self._postgres.transaction(settling.organization_id) as connection:
            await connection.execute(SETTLED, settling.organization_id, settling.task_id)

    async def delay_settlement(self, settling: Settling, wait: timedelta) -> None:
        """See `task_worker.domain.delivery.Settlements`."""
        async with self._postgres.transaction(settling.organization_id) as connection:
            await connection.execute(DELAY_SETTLEMENT, settling.organization_id, settling.task_id, wait)

    async def forget(self, kept: timedelta) -> None:
        """Delete delivered events and settled reservations older than `kept`, and outlived idempotency keys."""
        async with housekeeping(self._postgres) as connection:
            await connection.execute(FORGET_EVENTS, kept)
            await connection.execute(FORGET_SETTLEMENTS, kept)
            await connection.execute(FORGET_KEYS)


def _event(row: asyncpg.Record) -> Event:
    return Event(
        event_id=row["event_id"],
        organization_id=row["organization_id"],
        user_id=row["user_id"],
        type=row["type"],
        title=row["title"],
        body=row["body"],
        data=orjson.loads(row["data"]),
        occurred_at=row["occurred_at"],
        tries=row["tries"],
    )
