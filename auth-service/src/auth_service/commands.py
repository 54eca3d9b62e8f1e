"""What an operator runs beside the service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from auth_service.domain.audit_check import ExportChanged, Verification
from auth_service.domain.clock import utc_now
from auth_service.domain.keys import KeyRing, KeySafe
from auth_service.settings import AuthSettings
from auth_service.store.audit import PostgresAudit
from auth_service.store.heads import HeadFile
from auth_service.store.keys import PostgresKeys
from shared.migrations_postgres import migrate_postgres
from shared.postgres import Postgres

log = structlog.get_logger()

LOOKS, BETWEEN_LOOKS = 100, timedelta(seconds=0.3)
"""How patiently a command waits for a server that is slow to answer, as when everything starts at once."""


async def migrate(settings: AuthSettings) -> int:
    """Bring the database up to date and make the first signing key."""
    await migrate_postgres(settings, "auth_service")
    async with _postgres(settings) as postgres:
        await _key_ring(settings, postgres).reload()
    return 0


async def rotate_keys(settings: AuthSettings) -> int:
    """Publish a new signing key, which takes over in a few minutes; the old one stays until its tokens have expired."""
    async with _postgres(settings) as postgres:
        await _key_ring(settings, postgres).rotate()
    return 0


async def verify_audit(settings: AuthSettings) -> int:
    """Check every row of every chain against the heads here and those exported; 1 when one does not hold."""
    export = HeadFile(settings.audit_heads, settings.signing_key_secret.get_secret_value().encode())
    try:
        exported = export.read()
    except ExportChanged as error:
        log.error("audit_export_changed", error=str(error), advice="find out who changed it, then move it away")
        return 1
    async with _postgres(settings) as postgres:
        verification = Verification(PostgresAudit(postgres), exported)
        checked = await verification.run()
    for found in verification.breaks:
        log.error(
            "audit_chain_broken",
            organization_id=str(found.organization_id),
            sequence=found.sequence,
            reason=found.reason,
        )
    export.write(verification.heads.values())
    log.info("audit_verified", organizations=checked, broken=len(verification.breaks), compared=len(exported))
    return 1 if verification.breaks else 0


COMMANDS: Mapping[str, Callable[[AuthSettings], Coroutine[None, None, int]]] = {
    "migrate": migrate,
    "rotate-keys": rotate_keys,
    "verify-audit": verify_audit,
}


def _key_ring(settings: AuthSettings, postgres: Postgres) -> KeyRing:
    safe = KeySafe(settings.signing_key_secret.get_secret_value().encode())
    return KeyRing(PostgresKeys(postgres), safe, utc_now, settings.access_token_lifetime)


@asynccontextmanager
async def _postgres(settings: AuthSettings) -> AsyncIterator[Postgres]:
    postgres = Postgres(settings, capability="accounts", connections=2)
    await postgres.start()
    try:
        await _answering(postgres)
        yield postgres
    finally:
        await postgres.close()


async def _answering(postgres: Postgres) -> None:
    for _ in range(LOOKS):
        if postgres.status == "ok":
            return
        await asyncio.sleep(BETWEEN_LOOKS.total_seconds())
