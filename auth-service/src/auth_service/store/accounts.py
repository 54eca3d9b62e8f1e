"""People, organizations and the sessions they open, in PostgreSQL."""

from uuid import UUID

import asyncpg

from auth_service.domain.accounts import AccountStore
from auth_service.domain.audit import AuditEvent
from auth_service.domain.clock import Clock
from auth_service.domain.people import LoginAccount, NewSession, Organization, Profile, Registration
from auth_service.store import audit
from auth_service.store.tenancy import SAY_LOGIN
from shared.errors import EmailTaken
from shared.postgres import Postgres

FIND_LOGIN = """
SELECT u.id, u.organization_id, u.password_hash, EXISTS (
    SELECT 1 FROM known_addresses k
    WHERE k.organization_id = u.organization_id AND k.user_id = u.id AND k.address = $2) AS is_known_here
FROM users u WHERE u.email = $1"""
ADD_ORGANIZATION = "INSERT INTO organizations (id, name, sample, created_at) VALUES ($1, $2, $3, $4)"
ADD_USER = """
INSERT INTO users (id, organization_id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6)"""
ADD_MEMBERSHIP = "INSERT INTO memberships (organization_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)"
ADD_SUBSCRIPTION = "INSERT INTO subscriptions (organization_id, plan_id, started_at) VALUES ($1, $2, $3)"
ADD_SESSION = """
INSERT INTO sessions (organization_id, id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)"""
ADD_REFRESH_TOKEN = """
INSERT INTO refresh_tokens (organization_id, session_id, token_hash, issued_at, expires_at)
VALUES ($1, $2, $3, $4, $5)"""  # noqa: S105 - a statement, not a secret
KNOW_ADDRESS = """
INSERT INTO known_addresses (organization_id, user_id, address, last_used_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (organization_id, user_id, address) DO UPDATE SET last_used_at = excluded.last_used_at"""
PROFILE = """
SELECT m.user_id, u.email, u.name, m.role, o.id AS organization_id, o.name AS organization_name, s.plan_id AS plan
FROM memberships m
JOIN users u ON u.id = m.user_id
JOIN organizations o ON o.id = m.organization_id
JOIN subscriptions s ON s.organization_id = m.organization_id
WHERE m.organization_id = $1 AND m.user_id = $2"""
ORGANIZATION = """
SELECT o.id, o.name, o.sample, s.plan_id AS plan
FROM organizations o JOIN subscriptions s ON s.organization_id = o.id WHERE o.id = $1"""


async def find_profile(connection: asyncpg.Connection, organization_id: UUID, user_id: UUID) -> Profile | None:
    """The person as they are now, inside the caller's transaction."""
    row = await connection.fetchrow(PROFILE, organization_id, user_id)
    return Profile(**dict(row)) if row else None


class PostgresAccounts(AccountStore):
    """Where people, organizations and their first session are written."""

    def __init__(self, postgres: Postgres, clock: Clock) -> None:
        self._postgres = postgres
        self._clock = clock

    async def find_login(self, email: str, address: bytes) -> LoginAccount | None:
        """The account of an address, and whether it was used from this client before."""
        async with self._postgres.transaction() as connection:
            await connection.execute(SAY_LOGIN, email)
            row = await connection.fetchrow(FIND_LOGIN, email, address)
        if row is None:
            return None
        return LoginAccount(row["id"], row["organization_id"], row["password_hash"], row["is_known_here"])

    async def register(self, registration: Registration, event: AuditEvent) -> None:
        """Write person, organization and session together. Raises EmailTaken."""
        organization_id = registration.profile.organization_id
        try:
            async with self._postgres.transaction(str(organization_id)) as connection:
                await self._found(connection, registration)
                await self._open(connection, registration.session, registration.address)
                await audit.append(connection, organization_id, event, self._clock())
        except asyncpg.UniqueViolationError as error:
            raise EmailTaken from error

    async def open_session(self, session: NewSession, address: bytes, event: AuditEvent) -> Profile:
        """Write a session and remember the client's address; the person as they are now."""
        async with self._postgres.transaction(str(session.organization_id)) as connection:
            await self._open(connection, session, address)
            row = await connection.fetchrow(PROFILE, session.organization_id, session.user_id)
            await audit.append(connection, session.organization_id, event, self._clock())
        return Profile(**dict(row))

    async def find_organization(self, organization_id: UUID) -> Organization | None:
        """An organization's profile."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            row = await connection.fetchrow(ORGANIZATION, organization_id)
        return Organization(**dict(row)) if row else None

    async def _found(self, connection: asyncpg.Connection, registration: Registration) -> None:
        who, now = registration.profile, registration.session.created_at
        await connection.execute(SAY_LOGIN, who.email)
        await connection.execute(ADD_ORGANIZATION, who.organization_id, who.organization_name, registration.sample, now)
        await connection.execute(
            ADD_USER, who.user_id, who.organization_id, who.email, who.name, registration.password_hash, now
        )
        await connection.execute(ADD_MEMBERSHIP, who.organization_id, who.user_id, who.role, now)
        await connection.execute(ADD_SUBSCRIPTION, who.organization_id, who.plan, now)

    async def _open(self, connection: asyncpg.Connection, session: NewSession, address: bytes) -> None:
        now = session.created_at
        await connection.execute(
            ADD_SESSION, session.organization_id, session.id, session.user_id, now, session.expires_at
        )
        await connection.execute(
            ADD_REFRESH_TOKEN,
            session.organization_id,
            session.id,
            session.refresh_hash,
            now,
            session.token_expires_at,
        )
        await connection.execute(KNOW_ADDRESS, session.organization_id, session.user_id, address, now)
