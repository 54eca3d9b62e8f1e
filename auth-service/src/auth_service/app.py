"""Composition root: what auth-service is made of."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from auth_service.domain.accounts import Accounts
from auth_service.domain.audit import AuditStore
from auth_service.domain.clock import Clock, utc_now
from auth_service.domain.hashing import HashingPool
from auth_service.domain.idempotency import Repeatable
from auth_service.domain.keys import KeyRing, KeySafe
from auth_service.domain.passwords import Passwords, common_passwords
from auth_service.domain.quota import Quota
from auth_service.domain.sessions import RevocationList, Sessions
from auth_service.domain.throttle import Throttle
from auth_service.domain.tokens import AccessTokens, RefreshTokens
from auth_service.refusals import LOST, Refusals
from auth_service.routes import accounts, audit, billing, internal, keys
from auth_service.settings import AuthSettings
from auth_service.store.accounts import PostgresAccounts
from auth_service.store.audit import MISSED, PostgresAudit
from auth_service.store.keys import PostgresKeys
from auth_service.store.quota import PostgresQuota
from auth_service.store.replies import PostgresReplies
from auth_service.store.sessions import PostgresSessions
from auth_service.store.throttles import PostgresThrottles
from auth_service.upkeep import Upkeep
from shared.background import start_all
from shared.cursors import Cursors
from shared.idempotency import Idempotency
from shared.ids import new_id
from shared.postgres import Postgres
from shared.service import Service, create_app

KEYS_EVERY = timedelta(seconds=5)
LEASES_EVERY = timedelta(seconds=5)
REFUSALS_EVERY = timedelta(seconds=1)
REVOCATIONS_EVERY = timedelta(seconds=2)
FORGET_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class AuthParts:
    """What the routes are made of."""

    accounts: Accounts
    sessions: Sessions
    keys: KeyRing
    quota: Quota
    audit: AuditStore
    revocations: RevocationList
    repeatable: Repeatable
    cursors: Cursors


def make_app(settings: AuthSettings, clock: Clock = utc_now) -> Service:
    """The application of auth-service."""
    postgres = Postgres(settings, capability="accounts", connections=settings.postgres_connections)
    hashing = HashingPool(threads=settings.hashing_threads, patience=settings.hashing_patience)
    pepper = settings.password_pepper.get_secret_value().encode()
    secret = settings.signing_key_secret.get_secret_value().encode()

    key_ring = KeyRing(PostgresKeys(postgres), KeySafe(secret), clock, settings.access_token_lifetime)
    session_store = PostgresSessions(postgres, clock)
    throttles = PostgresThrottles(postgres)
    quota_store = PostgresQuota(postgres)
    replies = PostgresReplies(postgres, clock)
    sessions = Sessions(
        session_store,
        AccessTokens(
            key_ring,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            lifetime=settings.access_token_lifetime,
        ),
        RefreshTokens(secret),
        clock,
        refresh_lifetime=settings.refresh_token_lifetime,
        session_lifetime=settings.session_lifetime,
    )

    refusals = Refusals(PostgresAudit(postgres), clock)
    revocations = RevocationList(session_store, clock)
    upkeep = Upkeep(
        {
            "keys": (KEYS_EVERY, key_ring.reload),
            "leases": (LEASES_EVERY, lambda: quota_store.close_expired(clock())),
            "throttles": (FORGET_EVERY, lambda: throttles.forget(clock())),
            "sessions": (FORGET_EVERY, lambda: session_store.forget(clock())),
            "replies": (FORGET_EVERY, lambda: replies.forget(clock())),
            "refusals": (REFUSALS_EVERY, refusals.write),
            "revocations": (REVOCATIONS_EVERY, revocations.current),
        }
    )

    parts = AuthParts(
        accounts=Accounts(
            PostgresAccounts(postgres, clock),
            Passwords(pepper, hashing, common_passwords()),
            Throttle(throttles, pepper, clock),
            sessions,
            refusals,
            self_service_plans=settings.self_service_plans,
        ),
        sessions=sessions,
        keys=key_ring,
        quota=Quota(quota_store, clock),
        audit=PostgresAudit(postgres),
        revocations=revocations,
        repeatable=Repeatable(Idempotency(replies, holder=str(new_id())), secret),
        cursors=Cursors(settings.cursor_key.get_secret_value().encode()),
    )

    @asynccontextmanager
    async def lifespan(_app: Service) -> AsyncIterator[AuthParts]:
        async with AsyncExitStack() as stack:
            stack.callback(hashing.close)
            await start_all(stack, postgres)
            stack.push_async_callback(refusals.close)
            await start_all(stack, upkeep)
            yield parts

    app = create_app(
        settings,
        lifespan=lifespan,
        routers=(accounts.router, keys.router, billing.router, audit.router, internal.router),
        databases=lambda: {"postgresql": postgres.status},
        clock_skew=lambda: postgres.clock.skew_ms,
        description="Accounts, sessions, plans, quota and the audit log.",
    )
    for counter in (MISSED, LOST):
        app.metrics.registry.register(counter)
    return app
