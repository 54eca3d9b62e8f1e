"""Migrations of PostgreSQL: a one-shot before the services, with a checksum table and an advisory lock."""

import asyncio
import time

import asyncpg
import structlog

from shared.migrations import DDL, PATIENCE, migrations_of, pending
from shared.settings import PostgresSettings

log = structlog.get_logger()

LOCK_ID = 7_243_392


async def migrate_postgres(settings: PostgresSettings, package: str) -> list[str]:
    """Create the database and the app role where missing, apply what is pending; the names of what was applied.

    A migration grants the app role what it needs; its name is fixed by the text `{app_user}`.
    """
    await _ensure_database(settings)
    connection = await _owner(settings, settings.postgres_db)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_ID)
        await connection.execute(PG_HISTORY)
        rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
        todo = pending(migrations_of(package), {row["name"]: row["checksum"] for row in rows})
        for migration in todo:
            async with connection.transaction():
                await connection.execute(migration.text.replace("{app_user}", settings.postgres_app_user))
                await connection.execute(PG_RECORD, migration.name, migration.checksum)
            log.info("migration_applied", name=migration.name)
        return [migration.name for migration in todo]
    finally:
        await connection.close()


async def _owner(settings: PostgresSettings, database: str) -> asyncpg.Connection:
    """A connection as the owner account, waiting up to a minute for the server."""
    give_up = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return await asyncpg.connect(
                host=settings.postgres_host,
                port=settings.postgres_port,
                user=settings.postgres_user,
                password=settings.postgres_password.get_secret_value() if settings.postgres_password else None,
                database=database,
                timeout=2,
                command_timeout=DDL.total_seconds(),
            )
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.3)


async def _ensure_database(settings: PostgresSettings) -> None:
    connection = await _owner(settings, "postgres")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_ID)
        role = await connection.fetchval("SELECT quote_ident($1)", settings.postgres_app_user)
        password = await connection.fetchval(
            "SELECT quote_literal($1)", settings.postgres_app_password.get_secret_value()
        )
        known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", settings.postgres_app_user)
        verb = "ALTER" if known else "CREATE"
        await connection.execute(f"{verb} ROLE {role} LOGIN PASSWORD {password} NOSUPERUSER NOBYPASSRLS")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", settings.postgres_db):
            name = await connection.fetchval("SELECT quote_ident($1)", settings.postgres_db)
            await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


PG_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"""
PG_RECORD = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"
