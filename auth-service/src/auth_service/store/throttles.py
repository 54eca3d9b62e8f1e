"""Sliding windows in PostgreSQL: one row per subject with the moments of its hits, shared by every replica."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from auth_service.domain.throttle import Count, ThrottleStore
from shared.postgres import Postgres

HITS = "SELECT subject, hits FROM throttles WHERE subject = ANY($1::bytea[])"
# The row's lock makes counting and adding one step; no row comes back when the limit is reached.
TAKE = """
INSERT INTO throttles AS t (subject, hits, expires_at) VALUES ($1, ARRAY[$2::timestamptz], $2 + $4::interval)
ON CONFLICT (subject) DO UPDATE SET
    hits = ARRAY(SELECT hit FROM unnest(t.hits) hit WHERE hit > $2 - $4::interval) || $2,
    expires_at = $2 + $4::interval
WHERE (SELECT count(*) FROM unnest(t.hits) hit WHERE hit > $2 - $3::interval) < $5
RETURNING true"""
FORGET = "DELETE FROM throttles WHERE expires_at < $1"


class _Refused(Exception):
    """One count refuses: the hits that others took in the same transaction are undone."""


class PostgresThrottles(ThrottleStore):
    """Where hits are kept."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def hits(self, keys: Sequence[bytes]) -> Mapping[bytes, Sequence[datetime]]:
        """The remembered hits of each key."""
        async with self._postgres.connection() as connection:
            rows = await connection.fetch(HITS, list(keys))
        return {row["subject"]: row["hits"] for row in rows}

    async def take(self, counts: Sequence[Count], now: datetime) -> bool:
        """Add a hit to every count if each allows it, else to none."""
        try:
            async with self._postgres.transaction() as connection:
                for count in counts:
                    await self._take(connection, count, now)
        except _Refused:
            return False
        return True

    async def forget(self, now: datetime) -> None:
        """Remove what no window looks at any more."""
        async with self._postgres.connection() as connection:
            await connection.execute(FORGET, now)

    @staticmethod
    async def _take(connection: asyncpg.Connection, count: Count, now: datetime) -> None:
        limit = count.limit
        if not await connection.fetchval(TAKE, count.key, now, limit.window, limit.kept, limit.hits):
            raise _Refused
