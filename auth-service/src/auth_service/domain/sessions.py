"""Sessions: families of refresh tokens that follow one another, and the access tokens issued on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol
from uuid import UUID

from auth_service.domain.audit import AuditEvent
from auth_service.domain.clock import Clock
from auth_service.domain.people import NewSession, Profile
from auth_service.domain.tokens import AccessTokens, RefreshTokens, session_of, token_hash
from shared.errors import CapabilityUnavailable, InvalidRefreshToken, Unauthenticated
from shared.ids import new_id

REPLAY_WINDOW = timedelta(seconds=10)
"""A client whose reply was lost may repeat its refresh this long; later it is reuse, as by a thief."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or a refresh hands out."""

    access_token: str
    refresh_token: str
    expires_in: timedelta


class Verdict(Enum):
    """What a shown refresh token means."""

    ROTATE = "rotate"
    REPLAY = "replay"
    REUSE = "reuse"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class RefreshState:
    """A refresh token and its session as they are stored."""

    expires_at: datetime
    used_at: datetime | None
    session_expires_at: datetime
    session_revoked_at: datetime | None

    def judge(self, now: datetime) -> Verdict:
        """What showing this token at `now` means."""
        if self.session_revoked_at or now >= self.session_expires_at or now >= self.expires_at:
            return Verdict.DEAD
        if self.used_at is None:
            return Verdict.ROTATE
        return Verdict.REPLAY if now - self.used_at <= REPLAY_WINDOW else Verdict.REUSE


@dataclass(frozen=True, slots=True)
class Rotation:
    """The outcome of a refresh: the session and its person unless the token was dead or reused."""

    session_id: UUID
    profile: Profile


@dataclass(frozen=True, slots=True)
class Revocation:
    """Something to be refused: a token or a session until `expires_at`, or what was issued before `not_before`."""

    kind: str
    id: str
    not_before: datetime
    expires_at: datetime


class SessionStore(Protocol):
    """Where sessions are kept."""

    async def rotate(
        self, shown_hash: str, successor_hash: str, *, now: datetime, lifetime: timedelta, revoked_until: datetime
    ) -> Rotation | None:
        """Judge the token under a lock and apply it: rotate it, or end its session on reuse. None when refused."""
        ...

    async def session_of_refresh(self, organization_id: UUID, user_id: UUID, shown_hash: str) -> UUID | None:
        """The living session of this person that the refresh token belongs to."""
        ...

    async def end(
        self, organization_id: UUID, session_id: UUID, revocations: Sequence[Revocation], event: AuditEvent
    ) -> None:
        """Revoke a session and remember what must be refused until it would have expired anyway."""
        ...

    async def find_profile(self, organization_id: UUID, user_id: UUID, session_id: UUID | None) -> Profile | None:
        """The person as they are now; None when they or their session are gone."""
        ...

    async def revocations(self, now: datetime) -> Sequence[Revocation]:
        """Everything that must be refused at this moment, of all organizations."""
        ...


class Sessions:
    """Opening, refreshing and ending sessions."""

    def __init__(
        self,
        store: SessionStore,
        access: AccessTokens,
        refresh: RefreshTokens,
        clock: Clock,
        *,
        refresh_lifetime: timedelta,
        session_lifetime: timedelta,
    ) -> None:
        self._store = store
        self._access = access
        self._refresh = refresh
        self._clock = clock
        self._refresh_lifetime = refresh_lifetime
        self._session_lifetime = session_lifetime

    def prepare(self, organization_id: UUID, user_id: UUID) -> tuple[NewSession, str]:
        """A session to be written, and the refresh token that opens it."""
        now = self._clock()
        token = self._refresh.first()
        session = NewSession(
            id=new_id(),
            organization_id=organization_id,
            user_id=user_id,
            refresh_hash=token_hash(token),
            created_at=now,
            token_expires_at=now + self._refresh_lifetime,
            expires_at=now + self._session_lifetime,
        )
        return session, token

    def tokens(self, profile: Profile, session_id: UUID, refresh_token: str) -> Tokens:
        """The pair to hand out."""
        access_token = self._access.issue(profile, session_id, self._clock())
        return Tokens(access_token, refresh_token, self._access.lifetime)

    async def refresh(self, shown: str) -> Tokens:
        """A new pair for a refresh token, which it spends. Raises InvalidRefreshToken (401)."""
        successor = self._refresh.successor(shown)
        now = self._clock()
        rotation = await self._store.rotate(
            token_hash(shown),
            token_hash(successor),
            now=now,
            lifetime=self._refresh_lifetime,
            revoked_until=now + self._access.lifetime,
        )
        if rotation is None:
            raise InvalidRefreshToken
        return self.tokens(rotation.profile, rotation.session_id, successor)

    async def logout(
        self, organization_id: UUID, user_id: UUID, access_token_id: str, refresh_token: str | None
    ) -> None:
        """End the session of the refresh token, else that of the access token. Raises InvalidRefreshToken (401)."""
        current = session_of(access_token_id)
        ended = current
        if refresh_token is not None:
            ended = await self._store.session_of_refresh(organization_id, user_id, token_hash(refresh_token))
            if ended is None:
                raise InvalidRefreshToken
        if ended is None:
            raise Unauthenticated
        await self._store.end(
            organization_id,
            ended,
            self._refusals(ended, access_token_id if ended == current else None),
            AuditEvent("session.ended", user_id, str(ended)),
        )

    async def whoami(self, organization_id: UUID, user_id: UUID, access_token_id: str) -> Profile:
        """The person behind an access token, as they are now. Raises Unauthenticated when their session ended."""
        profile = await self._store.find_profile(organization_id, user_id, session_of(access_token_id))
        if profile is None:
            raise Unauthenticated
        return profile

    def _refusals(self, session_id: UUID, access_token_id: str | None) -> list[Revocation]:
        now = self._clock()
        until = now + self._access.lifetime
        refused = [Revocation("session", str(session_id), now, until)]
        if access_token_id is not None:
            refused.append(Revocation("token", access_token_id, now, until))
        return refused


class RevocationList:
    """What must be refused, at most `fresh_for` old; the last known list, with its age, while the store is away."""

    def __init__(self, store: SessionStore, clock: Clock, fresh_for: timedelta = timedelta(seconds=1)) -> None:
        self._store = store
        self._clock = clock
        self._fresh_for = fresh_for
        self._known: tuple[datetime, Sequence[Revocation]] | None = None

    async def current(self) -> tuple[datetime, Sequence[Revocation]]:
        """When it was read, and the list. Raises CapabilityUnavailable when it was never read."""
        now = self._clock()
        if self._known is None or now - self._known[0] >= self._fresh_for:
            self._known = await self._read(now)
        return self._known

    async def _read(self, now: datetime) -> tuple[datetime, Sequence[Revocation]]:
        try:
            return now, await self._store.revocations(now)
        except CapabilityUnavailable:
            if self._known is None:
                raise
            return self._known
