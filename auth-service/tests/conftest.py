"""The stores under test: the in-memory twins and the real ones make the same promises."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from auth_service import commands
from auth_service.domain.accounts import Accounts, AccountStore, Newcomer
from auth_service.domain.audit import AuditStore
from auth_service.domain.hashing import HashingPool
from auth_service.domain.keys import KeyRing, KeySafe, KeyStore
from auth_service.domain.passwords import Passwords
from auth_service.domain.people import Profile
from auth_service.domain.quota import Quota, QuotaStore
from auth_service.domain.sessions import RevocationList, Sessions, SessionStore, Tokens
from auth_service.domain.throttle import Throttle, ThrottleStore
from auth_service.domain.tokens import AccessTokens, RefreshTokens
from auth_service.refusals import Refusals
from auth_service.settings import AuthSettings
from auth_service.store.accounts import PostgresAccounts
from auth_service.store.audit import PostgresAudit
from auth_service.store.keys import PostgresKeys
from auth_service.store.quota import PostgresQuota
from auth_service.store.replies import PostgresReplies
from auth_service.store.sessions import PostgresSessions
from auth_service.store.throttles import PostgresThrottles
from auth_service.testing import (
    MemoryAccounts,
    MemoryAudit,
    MemoryKeys,
    MemoryQuota,
    MemoryThrottles,
    Watch,
)
from shared.idempotency import ReplyStore
from shared.ids import new_id
from shared.postgres import Postgres
from shared.testing import KEY, InMemoryReplies

SECRET = "a secret for tests only, never used outside them"
HOME = "192.0.2.1"


@dataclass
class Stores:
    """Every store of one kind, and the domain on top of them."""

    watch: Watch
    accounts_store: AccountStore
    sessions_store: SessionStore
    throttles: ThrottleStore
    quota_store: QuotaStore
    keys: KeyStore
    replies: ReplyStore
    audit: AuditStore
    hashing: HashingPool
    ring: KeyRing = field(init=False)
    sessions: Sessions = field(init=False)
    refusals: Refusals = field(init=False)
    accounts: Accounts = field(init=False)
    quota: Quota = field(init=False)
    revoked: RevocationList = field(init=False)

    def __post_init__(self) -> None:
        lifetime = timedelta(minutes=15)
        self.ring = KeyRing(self.keys, KeySafe(SECRET.encode()), self.watch, lifetime)
        access = AccessTokens(self.ring, issuer="multidb", audience="multidb-api", lifetime=lifetime)
        self.sessions = Sessions(
            self.sessions_store,
            access,
            RefreshTokens(SECRET.encode()),
            self.watch,
            refresh_lifetime=timedelta(days=30),
            session_lifetime=timedelta(days=90),
        )
        self.refusals = Refusals(self.audit, self.watch)
        self.accounts = Accounts(
            self.accounts_store,
            Passwords(SECRET.encode(), self.hashing, frozenset({"password1"}), cost=4),
            Throttle(self.throttles, SECRET.encode() + new_id().bytes, self.watch),
            self.sessions,
            self.refusals,
            self_service_plans=frozenset({"free", "pro", "enterprise"}),
        )
        self.quota = Quota(self.quota_store, self.watch)
        self.revoked = RevocationList(self.sessions_store, self.watch)

    async def newcomer(self, email: str | None = None, *, address: str = HOME, plan: str = "free") -> "Person":
        """Somebody who has registered."""
        email = email or f"{new_id()}@example.com"
        asked = Newcomer(email, "SecurePass123!", plan, "Acme", "Ada", sample=True)
        profile, tokens = await self.accounts.register(asked, address)
        if isinstance(self.quota_store, MemoryQuota):
            self.quota_store.subscriptions[profile.organization_id] = plan
        return Person(profile, tokens)

    async def organization(self, plan: str = "free") -> UUID:
        """The organization of somebody new."""
        return (await self.newcomer(plan=plan, address=str(new_id()))).profile.organization_id


@dataclass
class Person:
    """Somebody who has registered, and the tokens they got."""

    profile: Profile
    tokens: Tokens

    @property
    def email(self) -> str:
        return self.profile.email


@pytest.fixture(scope="session")
def hashing() -> Iterator[HashingPool]:
    pool = HashingPool(threads=2, patience=timedelta(seconds=30))
    yield pool
    pool.close()


@pytest.fixture(scope="module")
async def settings(postgres_database: Any) -> AuthSettings:
    """The settings of a service on a migrated database of this module's own."""
    made = AuthSettings(
        port=1,
        internal_identity_key=SecretStr(KEY.decode()),
        cursor_key=SecretStr(SECRET),
        password_pepper=SecretStr(SECRET),
        signing_key_secret=SecretStr(SECRET),
        postgres_host=postgres_database.host,
        postgres_port=postgres_database.port,
        postgres_db=postgres_database.name,
        postgres_user=postgres_database.user,
        postgres_password=SecretStr(postgres_database.password),
        postgres_app_user=postgres_database.app_user,
        postgres_app_password=SecretStr(postgres_database.app_password),
    )
    assert await commands.migrate(made) == 0
    return made


@pytest.fixture(scope="module")
async def postgres(settings: AuthSettings) -> AsyncIterator[Postgres]:
    made = Postgres(settings, capability="accounts")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def owner(settings: AuthSettings) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the database's owner, whom row level security does not hold."""
    connection = await asyncpg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
    )
    yield connection
    await connection.close()


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.engines)])
def empty_stores(request: pytest.FixtureRequest, hashing: HashingPool) -> Stores:
    """In memory and in PostgreSQL. Not async: only so may a fixture ask for an async one by name."""
    watch = Watch()
    if request.param == "memory":
        audit = MemoryAudit()
        people = MemoryAccounts(watch, audit)
        return Stores(
            watch,
            people,
            people,
            MemoryThrottles(),
            MemoryQuota(),
            MemoryKeys(),
            InMemoryReplies(lambda: watch().timestamp()),
            audit,
            hashing,
        )
    postgres = request.getfixturevalue("postgres")
    return Stores(
        watch,
        PostgresAccounts(postgres, watch),
        PostgresSessions(postgres, watch),
        PostgresThrottles(postgres),
        PostgresQuota(postgres),
        PostgresKeys(postgres),
        PostgresReplies(postgres, watch),
        PostgresAudit(postgres),
        hashing,
    )


@pytest.fixture
async def stores(empty_stores: Stores) -> Stores:
    """The same promises, kept in memory and in PostgreSQL, with a key that signs."""
    await empty_stores.ring.reload()
    return empty_stores
