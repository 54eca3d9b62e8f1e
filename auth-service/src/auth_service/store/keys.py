"""Signing keys in PostgreSQL."""

from collections.abc import Sequence

from auth_service.domain.keys import SigningKey
from shared.postgres import Postgres

ALL = "SELECT id, public_key, private_key, created_at, signs_from FROM signing_keys"
ADD = """
INSERT INTO signing_keys (id, public_key, private_key, created_at, signs_from) VALUES ($1, $2, $3, $4, $5)"""
ANY = "SELECT EXISTS (SELECT 1 FROM signing_keys)"
REMOVE = "DELETE FROM signing_keys WHERE id = ANY($1::text[])"
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7243393)"


class PostgresKeys:
    """The keys of the installation; they belong to no organization."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def all(self) -> Sequence[SigningKey]:
        """Every key."""
        async with self._postgres.connection() as connection:
            rows = await connection.fetch(ALL)
        return [SigningKey(**dict(row)) for row in rows]

    async def add(self, key: SigningKey) -> None:
        """Keep a new key."""
        async with self._postgres.connection() as connection:
            await connection.execute(ADD, *_columns(key))

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key unless there is one already."""
        async with self._postgres.transaction() as connection:
            await connection.execute(ONE_AT_A_TIME)
            if not await connection.fetchval(ANY):
                await connection.execute(ADD, *_columns(key))

    async def remove(self, key_ids: Sequence[str]) -> None:
        """Forget keys."""
        async with self._postgres.connection() as connection:
            await connection.execute(REMOVE, list(key_ids))


def _columns(key: SigningKey) -> tuple[object, ...]:
    return key.id, key.public_key, key.private_key, key.created_at, key.signs_from
