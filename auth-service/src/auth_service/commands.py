"""What an operator runs beside the service."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager

import structlog

from auth_service.domain.audit import first_break
from auth_service.domain.clock import utc_now
from auth_service.domain.keys import KeyRing, KeySafe
from auth_service.settings import AuthSettings
from auth_service.store.audit import PostgresAudit
from auth_service.store.keys import PostgresKeys
from shared.migrations import migrate_postgres
from shared.postgres import Postgres

log = structlog.get_logger()


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
    """Check every organization's chain; 1 when one does not hold."""
    verified = broken = 0
    async with _postgres(settings) as postgres:
        audit = PostgresAudit(postgres)
        async for head in audit.heads():
            found = first_break(head, await audit.chain(head))
            verified += 1
            if found is not None:
                broken += 1
                log.error(
                    "audit_chain_broken",
                    organization_id=str(found.organization_id),
                    sequence=found.sequence,
                    reason=found.reason,
                )
    log.info("audit_verified", organizations=verified, broken=broken)
    return 1 if broken else 0


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
        yield postgres
    finally:
        await postgres.close()
