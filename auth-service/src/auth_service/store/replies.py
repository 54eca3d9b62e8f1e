"""Replies of repeatable requests in PostgreSQL."""

from datetime import datetime

from auth_service.domain.clock import Clock
from shared.idempotency import ABANDONED, KEPT, KeyedRequest, Record
from shared.postgres import Postgres

CLAIM = """
INSERT INTO idempotency_keys AS k (key, fingerprint, created_at) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = excluded.created_at, reply = NULL
WHERE (k.reply IS NULL AND k.created_at < $4) OR k.created_at < $5
RETURNING true"""
KNOWN = "SELECT fingerprint, reply FROM idempotency_keys WHERE key = $1"
KEEP = "UPDATE idempotency_keys SET reply = $2 WHERE key = $1"
RELEASE = "DELETE FROM idempotency_keys WHERE key = $1 AND reply IS NULL"
SOMEBODY = "somebody"
"""The holder of a key that is taken: which process it is, is not kept."""
FORGET = "DELETE FROM idempotency_keys WHERE created_at < $1"


class PostgresReplies:
    """Replies by hashed key; they belong to requests that come before there is an organization."""

    def __init__(self, postgres: Postgres, clock: Clock) -> None:
        self._postgres = postgres
        self._clock = clock

    async def claim(self, request: KeyedRequest, mine: Record) -> Record | None:
        """Take a key that nobody has, or that was abandoned; else what is known of it."""
        key, now = bytes.fromhex(request.key), self._clock()
        fingerprint = bytes.fromhex(mine.fingerprint)
        async with self._postgres.connection() as connection:
            if await connection.fetchval(CLAIM, key, fingerprint, now, now - ABANDONED, now - KEPT):
                return None
            known = await connection.fetchrow(KNOWN, key)
        if known is None:  # released between the two statements: whoever held it was refused, as the next one may be
            return Record(mine.fingerprint, mine.work_id, SOMEBODY)
        return Record(known["fingerprint"].hex(), mine.work_id, SOMEBODY, known["reply"])

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the reply of a claimed key."""
        async with self._postgres.connection() as connection:
            await connection.execute(KEEP, bytes.fromhex(request.key), record.reply)

    async def release(self, request: KeyedRequest, record: Record) -> None:  # noqa: ARG002 - see ReplyStore
        """Give a claimed key back."""
        async with self._postgres.connection() as connection:
            await connection.execute(RELEASE, bytes.fromhex(request.key))

    async def is_alive(self, holder: str) -> bool:
        """Nobody can tell here: `claim` takes over what was abandoned."""
        return holder == SOMEBODY

    async def forget(self, now: datetime) -> None:
        """Remove what is older than a day."""
        async with self._postgres.connection() as connection:
            await connection.execute(FORGET, now - KEPT)
