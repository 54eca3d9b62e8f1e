"""The audit log in PostgreSQL: append-only rows, one hash chain per organization."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from auth_service.domain.audit import GENESIS, AuditEntry, AuditEvent, AuditHead
from auth_service.store.tenancy import say_maintenance
from shared.postgres import Postgres

BEGIN_CHAIN = "INSERT INTO audit_heads (organization_id, sequence, hash) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING"
LOCK_HEAD = "SELECT sequence, hash FROM audit_heads WHERE organization_id = $1 FOR UPDATE"
MOVE_HEAD = "UPDATE audit_heads SET sequence = $2, hash = $3 WHERE organization_id = $1"
APPEND = """
INSERT INTO audit_log (organization_id, sequence, occurred_at, actor_id, action, subject, facts, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
PAGE = """
SELECT organization_id, sequence, occurred_at, actor_id, action, subject, facts, hash FROM audit_log
WHERE organization_id = $1 AND ($2::bigint IS NULL OR sequence < $2) ORDER BY sequence DESC LIMIT $3"""
HEADS = """
SELECT organization_id, sequence, hash FROM audit_heads
WHERE $1::uuid IS NULL OR organization_id > $1 ORDER BY organization_id LIMIT $2"""
CHAIN = """
SELECT organization_id, sequence, occurred_at, actor_id, action, subject, facts, hash FROM audit_log
WHERE organization_id = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4"""
BATCH = 1_000


async def append(connection: asyncpg.Connection, organization_id: UUID, event: AuditEvent, now: datetime) -> None:
    """Add an entry inside the caller's transaction, which must speak for the organization.

    Let it be the last statement: it locks the end of the chain.
    """
    row = await connection.fetchrow(LOCK_HEAD, organization_id)
    if row is None:
        await connection.execute(BEGIN_CHAIN, organization_id, GENESIS)
        row = await connection.fetchrow(LOCK_HEAD, organization_id)
    entry = AuditHead(organization_id, row["sequence"], row["hash"]).append(event, now)
    await connection.execute(
        APPEND,
        organization_id,
        entry.sequence,
        entry.occurred_at,
        entry.actor_id,
        entry.action,
        entry.subject,
        entry.facts,
        entry.hash,
    )
    await connection.execute(MOVE_HEAD, organization_id, entry.sequence, entry.hash)


class PostgresAudit:
    """Reading the chains, and adding an entry that stands alone."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def append(self, organization_id: UUID, event: AuditEvent, now: datetime) -> None:
        """Add one event to an organization's chain."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            await append(connection, organization_id, event, now)

    async def page(self, organization_id: UUID, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """Up to `limit` entries older than sequence `before`, newest first."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            rows = await connection.fetch(PAGE, organization_id, before, limit)
        return [_entry(row) for row in rows]

    async def heads(self) -> AsyncIterator[AuditHead]:
        """The end of every organization's chain."""
        last: UUID | None = None
        while rows := await self._heads_after(last):
            for row in rows:
                yield AuditHead(row["organization_id"], row["sequence"], row["hash"])
            last = rows[-1]["organization_id"]

    async def chain(self, head: AuditHead) -> list[AuditEntry]:
        """An organization's entries up to its head, oldest first; what was appended since is left for the next time."""
        entries: list[AuditEntry] = []
        while rows := await self._after(head, entries[-1].sequence if entries else 0):
            entries += [_entry(row) for row in rows]
        return entries

    async def _heads_after(self, last: UUID | None) -> Sequence[asyncpg.Record]:
        async with self._postgres.transaction() as connection:
            await say_maintenance(connection)
            return list(await connection.fetch(HEADS, last, BATCH))

    async def _after(self, head: AuditHead, sequence: int) -> Sequence[asyncpg.Record]:
        async with self._postgres.transaction(str(head.organization_id)) as connection:
            return list(await connection.fetch(CHAIN, head.organization_id, sequence, head.sequence, BATCH))


def _entry(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        organization_id=row["organization_id"],
        sequence=row["sequence"],
        occurred_at=row["occurred_at"],
        actor_id=row["actor_id"],
        action=row["action"],
        subject=row["subject"],
        facts=row["facts"],
        hash=row["hash"],
    )
