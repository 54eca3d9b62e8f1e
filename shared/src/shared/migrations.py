"""Migrations as a one-shot before the services: plain numbered .sql and .cql files, a checksum table and a lock."""

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import asyncpg
import structlog
from cassandra import InvalidRequest
from cassandra.cluster import Session

from shared.cql import make_cluster
from shared.settings import CqlSettings, PostgresSettings

log = structlog.get_logger()

NAME = re.compile(r"\d{4}_[a-z0-9_]+\.(sql|cql)")
PATIENCE = timedelta(seconds=60)
LOCK_ID = 7_243_392
DDL = timedelta(seconds=30)


class MigrationChanged(RuntimeError):
    """A migration that was applied has another text now: add a new one instead."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of a service's `migrations` folder."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """Its statements, for CQL: separated by a semicolon at the end of a line."""
        without_comments = re.sub(r"^\s*--.*$", "", self.text, flags=re.MULTILINE)
        for part in re.split(r";\s*(?:\n|$)", without_comments):
            if part.strip():
                yield part.strip()


def migrations_of(package: str) -> list[Migration]:
    """The migrations in `<package>/migrations`, in order."""
    folder = files(package) / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if NAME.fullmatch(entry.name))
    return [Migration(name, (folder / name).read_text(encoding="utf-8")) for name in names]


def pending(migrations: list[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is still to be applied; raises MigrationChanged when an applied one has another checksum."""
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationChanged(migration.name)
    return [migration for migration in migrations if migration.name not in applied]


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


def migrate_cql(settings: CqlSettings, package: str) -> list[str]:
    """Create the keyspace where missing and apply what is pending, under an LWT lock; the names of what was applied."""
    give_up = time.monotonic() + PATIENCE.total_seconds()
    while True:
        cluster = make_cluster(settings, timeout=DDL)
        try:
            session = cluster.connect()
        except (OSError, Exception) as error:
            cluster.shutdown()
            if time.monotonic() > give_up:
                raise
            log.info("cql_awaited", error=repr(error))
            time.sleep(0.5)
            continue
        try:
            return _apply_cql(session, settings, package)
        finally:
            cluster.shutdown()


def _apply_cql(session: Session, settings: CqlSettings, package: str) -> list[str]:
    session.execute(
        f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{settings.scylla_datacenter}': {settings.scylla_replication_factor}}}"
    )
    session.set_keyspace(settings.keyspace)
    session.execute("CREATE TABLE IF NOT EXISTS schema_lock (name text PRIMARY KEY, holder text)")
    session.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, checksum text, applied_at timestamp)"
    )
    holder = str(uuid.uuid4())
    _lock(session, holder)
    try:
        rows = session.execute("SELECT name, checksum FROM schema_migrations")
        todo = pending(migrations_of(package), {row.name: row.checksum for row in rows})
        for migration in todo:
            for statement in migration.statements():
                session.execute(statement)
            record = session.prepare("INSERT INTO schema_migrations (name, checksum, applied_at) VALUES (?, ?, ?)")
            session.execute(record, (migration.name, migration.checksum, datetime.now(UTC)))
            log.info("migration_applied", name=migration.name)
        return [migration.name for migration in todo]
    finally:
        unlock = session.prepare("DELETE FROM schema_lock WHERE name = 'schema' IF holder = ?")
        session.execute(unlock, (holder,))


def _lock(session: Session, holder: str) -> None:
    """Take the schema lock; a holder that died loses it after two minutes."""
    take = session.prepare("INSERT INTO schema_lock (name, holder) VALUES ('schema', ?) IF NOT EXISTS USING TTL 120")
    give_up = time.monotonic() + PATIENCE.total_seconds() * 3
    while not session.execute(take, (holder,)).was_applied:
        if time.monotonic() > give_up:
            raise InvalidRequest("the schema lock is held by another process")
        time.sleep(0.5)
