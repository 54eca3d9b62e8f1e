"""Who is let in: access tokens, verified once and remembered, and checked against what was revoked on every request."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from shared.errors import CapabilityUnavailable, ClockSkew, Unauthenticated
from shared.identity import SKEWED, TOLERANCE
from shared.principal import Principal

log = structlog.get_logger()

MAX_TOKEN = 8 * 1024
REMEMBERED = 60.0
"""Seconds that verified claims are believed without checking the signature again."""
CACHE_SIZE = 50_000
INVALID = "This access token is malformed, expired or not ours: log in again."
REVOKED = "This access token was revoked: log in again."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine access token says; times in unix seconds."""

    principal: Principal
    session_id: str
    issued_at: float
    expires_at: float
    not_before: float = 0.0


class SignatureCheck(Protocol):
    """Checks a token against the keys of auth-service."""

    async def check(self, token: str) -> Claims:
        """The claims, whatever their time; raises Unauthenticated, or CapabilityUnavailable while no key is known."""


@dataclass(frozen=True, slots=True)
class RevocationSnapshot:
    """What was revoked at a moment by the clock of auth-service; users and organizations: tokens older than this."""

    as_of: float
    jtis: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    users: Mapping[str, float] = field(default_factory=dict)
    organizations: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Revoked:
    """The last snapshot of what is revoked; kept for as long as auth-service is away."""

    jtis: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    users: Mapping[str, float] = field(default_factory=dict)
    organizations: Mapping[str, float] = field(default_factory=dict)
    is_known: bool = False
    ahead: float = 0.0
    """Seconds by which our clock is ahead of auth-service's, as the newest snapshot showed."""
    as_of: float = math.inf

    def replace(self, snapshot: RevocationSnapshot, clock: Callable[[], float] = time.time) -> None:
        """Take over a newer snapshot. One that auth-service could not renew, as the first may be, tells no time."""
        if snapshot.as_of > self.as_of:
            self.ahead = clock() - snapshot.as_of
        self.as_of = snapshot.as_of
        self.jtis = snapshot.jtis
        self.sessions = snapshot.sessions
        self.users = snapshot.users
        self.organizations = snapshot.organizations
        self.is_known = True

    def covers(self, claims: Claims) -> bool:
        """Whether a token with these claims must be refused."""
        who = claims.principal
        return (
            who.token_id in self.jtis
            or claims.session_id in self.sessions
            or claims.issued_at < self.users.get(who.user_id, 0.0)
            or claims.issued_at < self.organizations.get(who.organization_id, 0.0)
        )


class Tokens:
    """Verifies bearer tokens: one signature check a minute for each, one look at the revocations for every request."""

    def __init__(self, signatures: SignatureCheck, revoked: Revoked, clock: Callable[[], float] = time.time) -> None:
        self._signatures = signatures
        self._revoked = revoked
        self._clock = clock
        self._verified: dict[bytes, tuple[float, Claims]] = {}

    async def verify(self, authorization: bytes | None) -> Claims:
        """The claims behind an Authorization header.

        Raises Unauthenticated for anything that is not a living bearer token of ours, and CapabilityUnavailable
        (accounts) as long as nothing is known of keys or revocations: it fails closed, but never as a 401.
        """
        if authorization is None:
            raise Unauthenticated
        if len(authorization) > MAX_TOKEN or authorization[:7].lower() != b"bearer ":
            raise Unauthenticated(INVALID)
        key = hashlib.sha256(authorization).digest()
        claims = self._known(key) or await self._check(key, authorization)
        if not self._revoked.is_known:
            raise CapabilityUnavailable(capability="accounts")
        if self._revoked.covers(claims):
            raise Unauthenticated(REVOKED)
        return claims

    def remembered(self, authorization: bytes | None) -> Claims | None:
        """Whose token this was when it was last verified: enough to queue by, never to let anybody in."""
        if authorization is None:
            return None
        _, claims = self._verified.get(hashlib.sha256(authorization).digest(), (0.0, None))
        return claims

    def _known(self, key: bytes) -> Claims | None:
        until, claims = self._verified.get(key, (0.0, None))
        return claims if self._clock() < until else None

    def still_holds(self, claims: Claims) -> bool:
        """Whether a stream that began with these claims may go on."""
        return self._clock() < claims.expires_at and not self._revoked.covers(claims)

    async def _check(self, key: bytes, authorization: bytes) -> Claims:
        try:
            token = authorization[7:].decode("ascii")
        except UnicodeDecodeError as error:
            raise Unauthenticated(INVALID) from error
        claims = await self._signatures.check(token)
        self._check_times(claims)
        if key not in self._verified and len(self._verified) >= CACHE_SIZE:
            del self._verified[next(iter(self._verified))]  # the one known longest
        self._verified[key] = (min(claims.expires_at, self._clock() + REMEMBERED), claims)
        return claims

    def _check_times(self, claims: Claims) -> None:
        """A token may be up to TOLERANCE from the future; expired is expired, unless only our clock says so."""
        now = self._clock()
        is_early = max(claims.issued_at, claims.not_before) > now + TOLERANCE
        is_expired = not now < claims.expires_at
        if is_early or (
            is_expired and self._revoked.ahead > TOLERANCE and now - self._revoked.ahead < claims.expires_at
        ):
            log.error("clock_skew", issuer="auth-service", seconds_ahead=round(claims.issued_at - now))
            SKEWED.labels("auth-service").inc()
            raise ClockSkew
        if is_expired:
            raise Unauthenticated(INVALID)
