import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from cassandra import InvalidRequest
from pydantic import SecretStr

from local_stack.engines.temporary import CqlKeyspace, PostgresDatabase
from shared.cql import UNSET, Cql
from shared.migrations import MigrationChanged
from shared.migrations_cql import migrate_cql
from shared.migrations_postgres import migrate_postgres
from shared.postgres import Postgres
from shared.settings import CqlSettings, PostgresSettings

pytestmark = pytest.mark.engines


class Sql(PostgresSettings):
    postgres_db: str = ""
    postgres_app_user: str = ""


class Scylla(CqlSettings):
    keyspace: str = ""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with one migration of each kind."""
    folder = tmp_path / "wandering_service"
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "migrations" / "__init__.py").touch()
    (folder / "migrations" / "0001_things.sql").write_text(
        "CREATE TABLE things (name text PRIMARY KEY);\nGRANT SELECT, INSERT ON things TO {app_user};\n"
    )
    (folder / "migrations" / "0001_things.cql").write_text(
        "-- things by owner\nCREATE TABLE things (owner text, name text, note text, PRIMARY KEY ((owner), name));\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("wandering_service")]:
        del sys.modules[name]


def sql(database: PostgresDatabase) -> Sql:
    return Sql(
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_user=database.user,
        postgres_password=SecretStr(database.password),
        postgres_db=database.name,
        postgres_app_user=database.app_user,
        postgres_app_password=SecretStr(database.app_password),
    )


def only(folder: Path, suffix: str) -> None:
    for path in (folder / "migrations").glob("0*"):
        if path.suffix != suffix:
            path.unlink()


async def test_sql_is_applied_once_and_the_app_role_owns_nothing(
    postgres_database: PostgresDatabase, package: Path
) -> None:
    only(package, ".sql")
    settings = sql(postgres_database)

    first = await migrate_postgres(settings, "wandering_service")
    second = await migrate_postgres(settings, "wandering_service")

    assert (first, second) == (["0001_things.sql"], [])
    store = Postgres(settings, capability="accounts")
    await store.start()
    async with store.connection() as connection:
        await connection.execute("INSERT INTO things VALUES ('kettle')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DROP TABLE things")
    await store.close()


async def test_a_migration_that_was_changed_afterwards_is_refused(
    postgres_database: PostgresDatabase, package: Path
) -> None:
    only(package, ".sql")
    settings = sql(postgres_database)
    await migrate_postgres(settings, "wandering_service")
    (package / "migrations" / "0001_things.sql").write_text("SELECT 1")

    with pytest.raises(MigrationChanged, match="0001_things"):
        await migrate_postgres(settings, "wandering_service")


async def connected(store: Cql) -> None:
    while store.status != "ok":  # noqa: ASYNC110 - the store tells no one when it has connected
        await asyncio.sleep(0.05)


async def test_cql_is_applied_once_and_statements_run_on_it(cql_keyspace: CqlKeyspace, package: Path) -> None:
    only(package, ".cql")
    settings = Scylla(
        scylla_host=cql_keyspace.host,
        scylla_port=cql_keyspace.port,
        scylla_datacenter=cql_keyspace.datacenter,
        keyspace=cql_keyspace.name,
    )

    first = migrate_cql(settings, "wandering_service")
    second = migrate_cql(settings, "wandering_service")

    assert (first, second) == (["0001_things.cql"], [])
    store = Cql(settings, capability="conversations")
    await store.start()
    await asyncio.wait_for(connected(store), 10)
    insert = "INSERT INTO things (owner, name, note) VALUES (?, ?, ?)"
    await store.execute_batch([(insert, ("ada", "kettle", UNSET)), (insert, ("ada", "lamp", "bright"))])
    rows = await store.execute("SELECT name, note FROM things WHERE owner = ?", ("ada",))
    assert [(row.name, row.note) for row in rows] == [("kettle", None), ("lamp", "bright")]
    with pytest.raises(InvalidRequest):
        await store.execute("SELECT nothing FROM things WHERE owner = ?", ("ada",))
    assert store.status == "ok"
    await store.close()
