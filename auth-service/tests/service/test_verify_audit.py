"""`verify-audit`: the exit code, and the heads exported to a file outside the database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from auth_service import commands
from auth_service.domain.audit import AuditEvent
from auth_service.settings import AuthSettings


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.engines)])
def empty_stores(empty_stores: Any) -> Any:
    """The real stores alone."""
    return empty_stores


@pytest.fixture
async def unfenced(owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who can change everything, what they tamper with is gone afterwards."""
    await owner.execute("SET session_replication_role = replica")
    yield owner
    for table in ("audit_log", "audit_heads", "audit_unchained", "organizations"):
        await owner.execute(f"DELETE FROM {table}")  # noqa: S608 - our names


@pytest.fixture
def exporting(settings: AuthSettings, tmp_path: Path) -> AuthSettings:
    return settings.model_copy(update={"audit_heads": tmp_path / "heads.jsonl"})


async def test_sound_chains_are_exported_and_hold_again_when_they_have_grown(
    stores: Any, exporting: AuthSettings, unfenced: asyncpg.Connection
) -> None:
    del unfenced
    organization_id = await stores.organization()
    await stores.organization()

    assert await commands.verify_audit(exporting) == 0
    await stores.audit.append(organization_id, AuditEvent("tested"), stores.watch.now)
    assert await commands.verify_audit(exporting) == 0

    assert exporting.audit_heads is not None
    assert len(exporting.audit_heads.read_text().splitlines()) == 3


async def test_a_broken_chain_is_told_by_the_exit_code(
    stores: Any, settings: AuthSettings, unfenced: asyncpg.Connection
) -> None:
    organization_id = await stores.organization()
    assert await commands.verify_audit(settings) == 0

    await unfenced.execute("UPDATE audit_log SET facts = '{}' WHERE organization_id = $1", organization_id)

    assert await commands.verify_audit(settings) == 1


REWRITES = {
    "everything of the organization removed": (
        "DELETE FROM audit_log",
        "DELETE FROM audit_heads",
        "DELETE FROM organizations",
    ),
    "the end cut off, and the head with it": (
        "DELETE FROM audit_log WHERE sequence > 1",
        (
            "UPDATE audit_heads h SET (sequence, hash) = (SELECT sequence, hash FROM audit_log l"
            " WHERE l.organization_id = h.organization_id)"
        ),
    ),
    "the whole chain written anew": (
        'UPDATE audit_log SET facts = \'{"plan":"enterprise"}\' WHERE sequence = 1',
        (
            "UPDATE audit_log SET hash = sha256(decode(repeat('00', 32), 'hex')"
            " || audit_content(organization_id, sequence, occurred_at, actor_id, action, subject, facts))"
            " WHERE sequence = 1"
        ),
        (
            "UPDATE audit_log l SET hash = sha256("
            "(SELECT hash FROM audit_log p WHERE p.organization_id = l.organization_id AND p.sequence = 1)"
            " || audit_content(organization_id, sequence, occurred_at, actor_id, action, subject, facts))"
            " WHERE sequence = 2"
        ),
        (
            "UPDATE audit_heads h SET hash = (SELECT hash FROM audit_log l"
            " WHERE l.organization_id = h.organization_id AND sequence = 2)"
        ),
    ),
}


@pytest.mark.parametrize("rewrite", REWRITES)
async def test_a_chain_that_was_rewritten_to_hold_is_found_by_the_exported_head(
    stores: Any, exporting: AuthSettings, settings: AuthSettings, unfenced: asyncpg.Connection, rewrite: str
) -> None:
    organization_id = await stores.organization()
    await stores.audit.append(organization_id, AuditEvent("tested"), stores.watch.now)
    assert await commands.verify_audit(exporting) == 0

    for statement in REWRITES[rewrite]:
        await unfenced.execute(statement)

    assert await commands.verify_audit(settings) == 0, "it holds in itself"
    assert await commands.verify_audit(exporting) == 1
    assert await commands.verify_audit(exporting) == 1, "what was found is not taken for granted next time"


async def test_an_export_that_somebody_changed_is_refused_and_kept(
    stores: Any, exporting: AuthSettings, unfenced: asyncpg.Connection
) -> None:
    del unfenced
    await stores.organization()
    assert await commands.verify_audit(exporting) == 0
    assert exporting.audit_heads is not None
    changed = exporting.audit_heads.read_text().replace('"sequence":1', '"sequence":0')
    exporting.audit_heads.write_text(changed)

    assert await commands.verify_audit(exporting) == 1
    assert exporting.audit_heads.read_text() == changed
