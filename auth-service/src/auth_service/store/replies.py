"""Replies of repeatable requests in PostgreSQL."""

from datetime import datetime

from auth_service.domain.idempotency import KEPT, Claim, ReplyStore
from shared.postgres import Postgres

CLAIM = """
INSERT INTO idempotency_keys AS k (key, fingerprint, created_at) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = excluded.created_at, reply = NULL
WHERE (k.reply IS NULL AND k.created_at < $4) OR k.created_at < $5
RETURNING true"""
KNOWN = "SELECT fingerprint, reply FROM idempotency_keys WHERE key = $1"
KEEP = "UPDATE idempotency_keys SET reply = $2 WHERE key = $1"
RELEASE = "DELETE FROM idempotency_keys WHERE key = $1 AND reply IS NULL"
FORGET = "DELETE FROM idempotency_keys WHERE created_at < $1"


class PostgresReplies(ReplyStore):
    """Where replies are kept; they belong to requests that come before there is an organization."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim(self, key: bytes, fingerprint: bytes, *, now: datetime, abandoned: datetime) -> Claim:
        """Take a key, or say what is known of it."""
        async with self._postgres.connection() as connection:
            if await connection.fetchval(CLAIM, key, fingerprint, now, abandoned, now - KEPT):
                return Claim(is_ours=True, fingerprint=fingerprint, reply=None)
            known = await connection.fetchrow(KNOWN, key)
        if known is None:  # released between the two statements: whoever held it was refused, as the next one may be
            return Claim(is_ours=False, fingerprint=fingerprint, reply=None)
        return Claim(is_ours=False, fingerprint=known["fingerprint"], reply=known["reply"])

    async def keep(self, key: bytes, reply: bytes) -> None:
        """Keep the reply of a claimed key."""
        async with self._postgres.connection() as connection:
            await connection.execute(KEEP, key, reply)

    async def release(self, key: bytes) -> None:
        """Give a claimed key back."""
        async with self._postgres.connection() as connection:
            await connection.execute(RELEASE, key)

    async def forget(self, now: datetime) -> None:
        """Remove what is older than a day."""
        async with self._postgres.connection() as connection:
            await connection.execute(FORGET, now - KEPT)
