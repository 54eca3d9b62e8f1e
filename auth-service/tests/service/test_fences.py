"""What PostgreSQL itself refuses: foreign organizations, and any change of the audit log."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from auth_service import commands
from auth_service.domain.audit import AuditEvent, first_break
from auth_service.settings import AuthSettings
from auth_service.store.audit import PostgresAudit
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
    audit = PostgresAudit(postgres)
    head = next(iter([head async for head in audit.heads() if head.organization_id == organization_id]))
    found = first_break(head, await audit.chain(head))
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


async def test_a_changed_entry_is_found(stores: Any, postgres: Postgres, unfenced: asyncpg.Connection) -> None:
    organization_id = await busy_organization(stores)

    await unfenced.execute(
        "UPDATE audit_log SET subject = 'x' WHERE organization_id = $1 AND sequence = 3", organization_id
    )

    assert await broken_at(postgres, organization_id) == (3, "entry changed")


async def test_a_removed_entry_is_found(stores: Any, postgres: Postgres, unfenced: asyncpg.Connection) -> None:
    organization_id = await busy_organization(stores)

    await unfenced.execute("DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 3", organization_id)

    assert await broken_at(postgres, organization_id) == (3, "entry missing")


async def test_a_chain_cut_at_its_end_is_found(stores: Any, postgres: Postgres, unfenced: asyncpg.Connection) -> None:
    organization_id = await busy_organization(stores)

    await unfenced.execute("DELETE FROM audit_log WHERE organization_id = $1 AND sequence = 6", organization_id)

    assert await broken_at(postgres, organization_id) == (5, "chain ends elsewhere than its head says")


async def test_the_command_tells_a_broken_chain_by_its_exit_code(
    stores: Any, settings: AuthSettings, unfenced: asyncpg.Connection
) -> None:
    await unfenced.execute("DELETE FROM audit_log")
    await unfenced.execute("DELETE FROM audit_heads")
    organization_id = await busy_organization(stores)

    untouched = await commands.verify_audit(settings)
    await unfenced.execute(
        "UPDATE audit_log SET facts = '{}' WHERE organization_id = $1 AND sequence = 1", organization_id
    )

    assert untouched == 0
    assert await commands.verify_audit(settings) == 1


async def test_the_log_is_read_newest_first_in_pages(stores: Any) -> None:
    organization_id = await busy_organization(stores)

    first = await stores.audit.page(organization_id, None, 4)
    second = await stores.audit.page(organization_id, first[-1].sequence, 4)

    assert [entry.sequence for entry in first] == [6, 5, 4, 3]
    assert [entry.action for entry in second] == ["tested", "organization.registered"]
