"""Sessions, their refresh tokens and revocations in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from auth_service.domain.audit import AuditEvent
from auth_service.domain.clock import Clock
from auth_service.domain.people import Profile
from auth_service.domain.sessions import RefreshState, Revocation, Rotation, SessionStore, Verdict
from auth_service.store import audit
from auth_service.store.accounts import ADD_REFRESH_TOKEN, find_profile
from auth_service.store.tenancy import SAY_ORGANIZATION, SAY_REFRESH_TOKEN, say_maintenance
from shared.postgres import Postgres

WHOSE = "SELECT organization_id FROM refresh_tokens WHERE token_hash = $1"
# Locking the session rather than the token makes one refresh of a family wait for the other, and a logout for both.
LOCK = """
SELECT s.id AS session_id, s.user_id, s.expires_at AS session_expires_at, s.revoked_at AS session_revoked_at
FROM sessions s JOIN refresh_tokens t ON t.organization_id = s.organization_id AND t.session_id = s.id
WHERE t.organization_id = $1 AND t.token_hash = $2 FOR UPDATE OF s"""
TOKEN = "SELECT expires_at, used_at FROM refresh_tokens WHERE organization_id = $1 AND token_hash = $2"  # noqa: S105 - a statement
USE = "UPDATE refresh_tokens SET used_at = $3 WHERE organization_id = $1 AND token_hash = $2"
REVOKE = """
UPDATE sessions SET revoked_at = $3, revoked_because = $4
WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL"""
REFUSE = """
INSERT INTO revocations (organization_id, kind, id, not_before, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (organization_id, kind, id) DO UPDATE
SET not_before = excluded.not_before, expires_at = greatest(revocations.expires_at, excluded.expires_at)"""
LIVING = """
SELECT s.id FROM sessions s JOIN refresh_tokens t ON t.organization_id = s.organization_id AND t.session_id = s.id
WHERE s.organization_id = $1 AND s.user_id = $2 AND t.token_hash = $3 AND s.revoked_at IS NULL
AND s.expires_at > $4 AND t.expires_at > $4"""
IS_OPEN = "SELECT EXISTS (SELECT 1 FROM sessions WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL)"
REFUSED = "SELECT kind, id, not_before, expires_at FROM revocations WHERE expires_at > $1 ORDER BY expires_at"
FORGET_REVOCATIONS = "DELETE FROM revocations WHERE expires_at < $1"
FORGET_TOKENS = "DELETE FROM refresh_tokens WHERE expires_at < $1"
FORGET_ADDRESSES = "DELETE FROM known_addresses WHERE last_used_at < $1"
FORGET_SESSIONS = "DELETE FROM sessions WHERE expires_at < $1"

KNOWN_FOR = timedelta(days=180)


class PostgresSessions(SessionStore):
    """Where sessions are kept."""

    def __init__(self, postgres: Postgres, clock: Clock) -> None:
        self._postgres = postgres
        self._clock = clock

    async def rotate(
        self, shown_hash: str, successor_hash: str, *, now: datetime, lifetime: timedelta, revoked_until: datetime
    ) -> Rotation | None:
        """Judge the token under a lock and apply it: rotate it, or end its session on reuse."""
        async with self._postgres.transaction() as connection:
            await connection.execute(SAY_REFRESH_TOKEN, shown_hash)
            organization_id = await connection.fetchval(WHOSE, shown_hash)
            if organization_id is None:
                return None
            await connection.execute(SAY_ORGANIZATION, str(organization_id))
            session = await connection.fetchrow(LOCK, organization_id, shown_hash)
            token = await connection.fetchrow(TOKEN, organization_id, shown_hash)
            state = RefreshState(
                token["expires_at"], token["used_at"], session["session_expires_at"], session["session_revoked_at"]
            )
            verdict = state.judge(now)
            if verdict is Verdict.REUSE:
                await self._end_reused(connection, organization_id, session, now, revoked_until)
            if verdict is Verdict.ROTATE:
                await connection.execute(USE, organization_id, shown_hash, now)
                await connection.execute(
                    ADD_REFRESH_TOKEN, organization_id, session["session_id"], successor_hash, now, now + lifetime
                )
            if verdict not in {Verdict.ROTATE, Verdict.REPLAY}:
                return None
            profile = await find_profile(connection, organization_id, session["user_id"])
        return Rotation(session["session_id"], profile) if profile else None

    async def session_of_refresh(self, organization_id: UUID, user_id: UUID, shown_hash: str) -> UUID | None:
        """The living session of this person that the refresh token belongs to."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            found: UUID | None = await connection.fetchval(LIVING, organization_id, user_id, shown_hash, self._clock())
        return found

    async def end(
        self, organization_id: UUID, session_id: UUID, revocations: Sequence[Revocation], event: AuditEvent
    ) -> None:
        """Revoke a session and remember what must be refused until it would have expired anyway."""
        now = self._clock()
        async with self._postgres.transaction(str(organization_id)) as connection:
            await connection.execute(REVOKE, organization_id, session_id, now, "logout")
            for refused in revocations:
                await _refuse(connection, organization_id, refused)
            await audit.append(connection, organization_id, event, now)

    async def find_profile(self, organization_id: UUID, user_id: UUID, session_id: UUID | None) -> Profile | None:
        """The person as they are now; None when they or their session are gone."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            if session_id is None or not await connection.fetchval(IS_OPEN, organization_id, session_id):
                return None
            return await find_profile(connection, organization_id, user_id)

    async def revocations(self, now: datetime) -> Sequence[Revocation]:
        """Everything that must be refused at this moment, of all organizations."""
        async with self._postgres.transaction() as connection:
            await say_maintenance(connection)
            rows = await connection.fetch(REFUSED, now)
        return [Revocation(row["kind"], row["id"], row["not_before"], row["expires_at"]) for row in rows]

    async def forget(self, now: datetime) -> None:
        """Remove what has expired: revocations, refresh tokens, sessions, and addresses not used for long."""
        async with self._postgres.transaction() as connection:
            await say_maintenance(connection)
            await connection.execute(FORGET_REVOCATIONS, now)
            await connection.execute(FORGET_TOKENS, now)
            await connection.execute(FORGET_SESSIONS, now)
            await connection.execute(FORGET_ADDRESSES, now - KNOWN_FOR)

    @staticmethod
    async def _end_reused(
        connection: asyncpg.Connection,
        organization_id: UUID,
        session: asyncpg.Record,
        now: datetime,
        revoked_until: datetime,
    ) -> None:
        session_id = session["session_id"]
        await connection.execute(REVOKE, organization_id, session_id, now, "reuse")
        await _refuse(connection, organization_id, Revocation("session", str(session_id), now, revoked_until))
        event = AuditEvent("session.reuse_detected", session["user_id"], str(session_id))
        await audit.append(connection, organization_id, event, now)


async def _refuse(connection: asyncpg.Connection, organization_id: UUID, refused: Revocation) -> None:
    await connection.execute(REFUSE, organization_id, refused.kind, refused.id, refused.not_before, refused.expires_at)
