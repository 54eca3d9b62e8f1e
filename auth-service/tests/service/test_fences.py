"""What PostgreSQL itself refuses: foreign organizations, and any change of the audit log."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from auth_service.domain.audit import AuditEvent
from auth_service.domain.audit_check import Verification
from auth_service.settings import AuthSettings
from auth_service.store.audit import APPEND, MISSED, PostgresAudit
from shared.ids import new_id
from shared.postgres import Postgres

TENANT_TABLES = """
SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS is_fenced, c.relowner::regrole::text AS owner
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"""


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.engines)])
def empty_stores(empty_stores: Any) -> Any:
    """The real stores alone."""
    return empty_stores


@pytest.fixture
async def unfenced(owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who can change the audit log: the owner of the database, after taking the trigger away."""
    await owner.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only")
    yield owner
    await owner.execute("ALTER TABLE audit_log ENABLE TRIGGER audit_log_is_append_only")


async def busy_organization(stores: Any) -> UUID:
    organization_id: UUID = await stores.organization()
    for number in range(5):
        stores.watch.forward(timedelta(seconds=1))
        await stores.audit.append(organization_id, AuditEvent("tested", None, str(number)), stores.watch.now)
    return organization_id


async def broken_at(postgres: Postgres, organization_id: UUID) -> tuple[int, str] | None:
    found = await Verification(PostgresAudit(postgres), {}).check(organization_id)
    return (found.sequence, found.reason) if found else None


async def test_every_table_of_organizations_is_fenced_and_none_belongs_to_the_service(
    stores: Any, owner: asyncpg.Connection, settings: AuthSettings
) -> None:
    del stores
    tables = await owner.fetch(TENANT_TABLES)

    assert len(tables) >= 12
    assert [row["name"] for row in tables if not row["is_fenced"]] == []
    assert settings.postgres_app_user not in {row["owner"] for row in tables}


async def test_a_transaction_sees_the_rows_of_its_organization_alone(
    stores: Any, owner: asyncpg.Connection, postgres: Postgres
) -> None:
    mine, theirs = await busy_organization(stores), await busy_organization(stores)
    tables = [row["name"] for row in await owner.fetch(TENANT_TABLES)]

    for table in tables:
        async with postgres.transaction(str(mine)) as connection:
            seen = {row[0] for row in await connection.fetch(f"SELECT organization_id FROM {table}")}  # noqa: S608 - our names
        async with postgres.transaction() as connection:
            unnamed = await connection.fetch(f"SELECT organization_id FROM {table}")  # noqa: S608 - our names
        assert theirs not in seen, table
        assert not unnamed, table


async def test_a_row_cannot_be_written_for_another_organization(stores: Any, postgres: Postgres) -> None:
    mine, theirs = await stores.organization(), await stores.organization()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with postgres.transaction(str(mine)) as connection:
            await connection.execute(
                "INSERT INTO quota_periods (organization_id, meter, starts_at) VALUES ($1, 'tasks', now())", theirs
            )


@pytest.mark.parametrize(
    "change", ["UPDATE audit_log SET action = 'forged'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_neither_the_service_nor_the_owner_changes_the_audit_log(
    stores: Any, owner: asyncpg.Connection, postgres: Postgres, change: str
) -> None:
    organization_id = await busy_organization(stores)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with postgres.transaction(str(organization_id)) as connection:
            await connection.execute(change)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(change)


async def test_the_chain_of_an_organization_holds(stores: Any, postgres: Postgres) -> None:
    assert await broken_at(postgres, await busy_organization(stores)) is None


async def test_entries_written_at_once_make_one_chain(stores: Any, postgres: Postgres) -> None:
    ada = await stores.newcomer()
    await asyncio.gather(*(stores.accounts.login(ada.email, "SecurePass123!", "192.0.2.1") for _ in range(12)))

    assert await broken_at(postgres, ada.profile.organization_id) is None
    assert len(await stores.audit.page(ada.profile.organization_id, None, 100)) == 13


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO audit_log SELECT $1, 99, now(), NULL, 'forged', NULL, '{}', '\\x00'",
        "INSERT INTO audit_heads VALUES ($1, 0, '\\x00')",
        "UPDATE audit_heads SET sequence = 0 WHERE organization_id = $1",
        "DELETE FROM audit_heads WHERE organization_id = $1",
        "INSERT INTO audit_unchained OVERRIDING SYSTEM VALUE SELECT $1, 1, now(), NULL, 'forged', NULL, '{}'",
    ],
)
async def test_the_service_itself_writes_the_log_through_its_function_alone(
    stores: Any, postgres: Postgres, change: str
) -> None:
    organization_id = await stores.organization()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with postgres.transaction(str(organization_id)) as connection:
            await connection.execute(change, organization_id)


async def test_the_function_writes_for_the_organization_of_its_transaction_alone(
    stores: Any, postgres: Postgres
) -> None:
    mine, theirs = await stores.organization(), await stores.organization()

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="organization of its transaction"):
        async with postgres.transaction(str(mine)) as connection:
            await connection.fetchval(APPEND, theirs, stores.watch.now, None, "forged", None, "{}")


TAMPERINGS = {
    "a changed entry": (
        "UPDATE audit_log SET subject = 'x' WHERE organization_id = $1 AND sequence = 3",
        (3, "entry changed"),
    ),
    "a removed entry": (
        "DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 3",
        (3, "entry missing"),
    ),
    "a removed last entry": (
        "DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 6",
        (5, "chain ends elsewhere than its head says"),
    ),
    "an entry just behind the head": (
        (
            "INSERT INTO audit_log SELECT organization_id, 7, now(), NULL, 'forged', NULL, '{}', hash"
            " FROM audit_log WHERE organization_id = $1 AND sequence = 6"
        ),
        (7, "entry changed"),
    ),
    "an entry far beyond the head": (
        "INSERT INTO audit_log VALUES ($1, 1000000000, now(), NULL, 'forged', NULL, '{}', '\\x00')",
        (7, "entry missing"),
    ),
    "an entry at 0": (
        "INSERT INTO audit_log VALUES ($1, 0, now(), NULL, 'forged', NULL, '{}', '\\x00')",
        (1, "entry out of place"),
    ),
    "an entry below 0": (
        "INSERT INTO audit_log VALUES ($1, -5, now(), NULL, 'forged', NULL, '{}', '\\x00')",
        (1, "entry out of place"),
    ),
    "a removed head": ("DELETE FROM audit_heads WHERE organization_id = $1", (6, "head missing")),
    "a head moved back": (
        (
            "UPDATE audit_heads SET (sequence, hash) = (SELECT sequence, hash FROM audit_log"
            " WHERE organization_id = $1 AND sequence = 4) WHERE organization_id = $1"
        ),
        (6, "chain ends elsewhere than its head says"),
    ),
    "a head with another hash": (
        "UPDATE audit_heads SET hash = '\\x00' WHERE organization_id = $1",
        (6, "chain ends elsewhere than its head says"),
    ),
    "a removed chain that kept its head": (
        "DELETE FROM audit_log WHERE organization_id = $1",
        (0, "chain missing"),
    ),
    "a removed chain with its head": (
        (
            "WITH head AS (DELETE FROM audit_heads WHERE organization_id = $1)"
            " DELETE FROM audit_log WHERE organization_id = $1"
        ),
        (0, "chain missing"),
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_a_tampering_is_found_and_stops_no_login(
    stores: Any, postgres: Postgres, unfenced: asyncpg.Connection, tampering: str
) -> None:
    change, found = TAMPERINGS[tampering]
    ada = await stores.newcomer()
    organization_id = ada.profile.organization_id
    for number in range(5):
        await stores.audit.append(organization_id, AuditEvent("tested", None, str(number)), stores.watch.now)

    await unfenced.execute(change, organization_id)

    assert await broken_at(postgres, organization_id) == found
    for _ in range(2):
        assert (await stores.accounts.login(ada.email, "SecurePass123!", "192.0.2.1")).access_token
    assert await broken_at(postgres, organization_id) is not None


async def test_what_does_not_fit_into_a_broken_chain_is_kept_beside_it_and_told(
    stores: Any, postgres: Postgres, unfenced: asyncpg.Connection
) -> None:
    ada = await stores.newcomer()
    organization_id = ada.profile.organization_id
    missed = MISSED._value.get()
    await unfenced.execute("DELETE FROM audit_heads WHERE organization_id = $1", organization_id)

    with capture_logs() as logs:
        await stores.accounts.login(ada.email, "SecurePass123!", "192.0.2.1")

    assert [(line["event"], line["log_level"]) for line in logs] == [("audit_chain_broken", "error")]
    assert MISSED._value.get() == missed + 1
    kept = await unfenced.fetch("SELECT action FROM audit_unchained WHERE organization_id = $1", organization_id)
    assert [row["action"] for row in kept] == ["session.opened"]
    assert await PostgresAudit(postgres).unchained(organization_id) == 1


async def test_an_entry_beside_a_chain_that_was_mended_is_still_found(
    stores: Any, postgres: Postgres, unfenced: asyncpg.Connection
) -> None:
    ada = await stores.newcomer()
    organization_id = ada.profile.organization_id
    head = await PostgresAudit(postgres).head(organization_id)
    assert head is not None
    await unfenced.execute("DELETE FROM audit_heads WHERE organization_id = $1", organization_id)
    await stores.accounts.login(ada.email, "SecurePass123!", "192.0.2.1")

    await unfenced.execute("INSERT INTO audit_heads VALUES ($1, $2, $3)", organization_id, head.sequence, head.hash)

    assert await broken_at(postgres, organization_id) == (1, "entries outside the chain")


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        'quoted "x"',
        "back\\slash",
        "a/b",
        "tab\tline\nreturn\r",
        "\x01\x1f\x7f",
        "é ß 日本 \U0001f600",
        "\u2028\u2029",
    ],
)
async def test_the_database_seals_as_the_domain_does(stores: Any, postgres: Postgres, text: str) -> None:
    organization_id = await stores.organization()

    await stores.audit.append(organization_id, AuditEvent("tested", new_id(), text, {text: text}), stores.watch.now)

    assert await broken_at(postgres, organization_id) is None
    assert (await stores.audit.page(organization_id, None, 1))[0].subject == text


async def test_the_log_is_read_newest_first_in_pages(stores: Any) -> None:
    organization_id = await busy_organization(stores)

    first = await stores.audit.page(organization_id, None, 4)
    second = await stores.audit.page(organization_id, first[-1].sequence, 4)

    assert [entry.sequence for entry in first] == [6, 5, 4, 3]
    assert [entry.action for entry in second] == ["tested", "organization.registered"]
