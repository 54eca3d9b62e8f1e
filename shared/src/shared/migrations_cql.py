"""Migrations of CQL: a one-shot before the services, with a checksum table and a lock held by LWT."""

import time
import uuid
from datetime import UTC, datetime

import structlog
from cassandra import InvalidRequest
from cassandra.cluster import Session

from shared.cql import make_cluster
from shared.migrations import DDL, PATIENCE, migrations_of, pending
from shared.settings import CqlSettings

log = structlog.get_logger()


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
