"""The audit log in PostgreSQL: append-only rows, one hash chain per organization."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from auth_service.domain.audit import AuditEntry, AuditEvent, AuditHead, AuditStore
from auth_service.domain.audit_check import Chains
from auth_service.store.tenancy import say_maintenance
from shared.postgres import Postgres

log = structlog.get_logger()

# One statement: the function locks the head, seals the entry and moves the head (0004_audit_by_function.sql).
APPEND = "SELECT append_audit($1, $2, $3, $4, $5, $6)"
PAGE = """
SELECT organization_id, sequence, occurred_at, actor_id, action, subject, facts, hash FROM audit_log
WHERE organization_id = $1 AND ($2::bigint IS NULL OR sequence < $2) ORDER BY sequence DESC LIMIT $3"""
ORGANIZATIONS = """
SELECT id FROM (
    (SELECT id FROM organizations WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2)
    UNION (SELECT organization_id FROM audit_heads
           WHERE $1::uuid IS NULL OR organization_id > $1 ORDER BY organization_id LIMIT $2)
    UNION (SELECT DISTINCT organization_id FROM audit_log
           WHERE $1::uuid IS NULL OR organization_id > $1 ORDER BY organization_id LIMIT $2)
) AS known (id) ORDER BY id LIMIT $2"""
HEAD = "SELECT organization_id, sequence, hash FROM audit_heads WHERE organization_id = $1"
CHAIN = """
SELECT organization_id, sequence, occurred_at, actor_id, action, subject, facts, hash FROM audit_log
WHERE organization_id = $1 AND ($2::bigint IS NULL OR sequence > $2) ORDER BY sequence LIMIT $3"""
UNCHAINED = "SELECT count(*) FROM audit_unchained WHERE organization_id = $1"
BATCH = 1_000

MISSED = Counter(
    "audit_entries_unchained", "Audit entries that did not fit into a chain somebody tampered with.", registry=None
)
"""One count for the process: an organization is no label, there are too many."""


async def append(connection: asyncpg.Connection, organization_id: UUID, event: AuditEvent, now: datetime) -> None:
    """Add an entry inside the caller's transaction, which must speak for the organization.

    Let it be the last statement: it locks the end of the chain. A broken chain is told and stops nobody.
    """
    facts = event.facts_text()
    if not await connection.fetchval(APPEND, organization_id, now, event.actor_id, event.action, event.subject, facts):
        MISSED.inc()
        log.error("audit_chain_broken", organization_id=str(organization_id), action=event.action)


class PostgresAudit(AuditStore, Chains):
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

    async def organizations(self) -> AsyncIterator[UUID]:
        """Every organization there is, or that has a head or an entry."""
        last: UUID | None = None
        while rows := await self._organizations_after(last):
            for row in rows:
                yield row["id"]
            last = rows[-1]["id"]

    async def entries(self, organization_id: UUID, after: int | None) -> Sequence[AuditEntry]:
        """The next entries with a sequence above `after`, whatever the head says; none at the end."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            rows = await connection.fetch(CHAIN, organization_id, after, BATCH)
        return [_entry(row) for row in rows]

    async def head(self, organization_id: UUID) -> AuditHead | None:
        """The end of a chain, as it is stored."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            row = await connection.fetchrow(HEAD, organization_id)
        return AuditHead(**dict(row)) if row else None

    async def unchained(self, organization_id: UUID) -> int:
        """How many entries did not fit into the chain."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            return int(await connection.fetchval(UNCHAINED, organization_id))

    async def _organizations_after(self, last: UUID | None) -> Sequence[asyncpg.Record]:
        async with self._postgres.transaction() as connection:
            await say_maintenance(connection)
            return list(await connection.fetch(ORGANIZATIONS, last, BATCH))


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
