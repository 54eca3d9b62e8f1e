"""The short-lived signed identity by which services show each other who is asking.

Format: base64url(JSON claims) "." base64url(HMAC-SHA256), both without padding. Claims: iss (calling service),
aud (called service), exp (unix seconds, 60 ahead), and for a person sub, org, role, plan, jti.

Signer and verifier need not have the same time: their clocks may differ by TOLERANCE. Beyond that a genuine identity is
refused as ClockSkew (503), never as 401, which would blame the person (docs/adr/0012).
"""

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
import structlog
from prometheus_client import Counter

from shared.errors import ClockSkew, Unauthenticated
from shared.principal import Caller, Principal

Key = TypeVar("Key")
Value = TypeVar("Value")

HEADER = b"x-internal-identity"
LIFETIME = 60
REUSE = 30
"""Seconds an identity lives, and seconds a signer hands out the same one before it signs again."""
TOLERANCE = 60
"""Seconds by which the clock of who signs may differ from the clock of who verifies."""
TELL_EVERY = 60
"""Seconds between two log lines about the clock of the same service; the counter counts each refusal."""
CACHE_SIZE = 20_000

SKEWED = Counter(
    "identity_clock_skew",
    "Genuine identities refused because the clocks of two services differ by more than a minute.",
    ("issuer",),
    registry=None,
)
"""One count for the process: every registry offers it (shared.metrics)."""

log = structlog.get_logger()


def _encode(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _keep(cache: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Remember as the newest; the oldest one goes when the cache is full, never all at once."""
    cache.pop(key, None)
    while len(cache) >= CACHE_SIZE:
        cache.popitem(last=False)
    cache[key] = value


class IdentitySigner:
    """Signs identities in the name of one service; the same one is handed out for 30 s, since signing is not free."""

    def __init__(self, key: bytes, issuer: str, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._issuer = issuer
        self._clock = clock
        self._signed: OrderedDict[tuple[str, Principal | None], tuple[float, bytes]] = OrderedDict()

    def sign(self, audience: str, principal: Principal | None = None) -> bytes:
        """The header value that shows `audience` who is asking."""
        now = self._clock()
        cached = self._signed.get((audience, principal))
        if cached is not None and now < cached[0]:
            return cached[1]
        claims: dict[str, Any] = {"iss": self._issuer, "aud": audience, "exp": int(now) + LIFETIME}
        if principal is not None:
            claims |= {
                "sub": principal.user_id,
                "org": principal.organization_id,
                "role": principal.role,
                "plan": principal.plan,
                "jti": principal.token_id,
            }
        body = _encode(orjson.dumps(claims))
        token = body + b"." + _encode(hmac.digest(self._key, body, hashlib.sha256))
        _keep(self._signed, (audience, principal), (now + REUSE, token))
        return token


class IdentityVerifier:
    """Checks identities shown to one service."""

    def __init__(self, key: bytes, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._told: dict[str, float] = {}

    def verify(self, token: bytes | None) -> Caller:
        """Who calls; raises Unauthenticated for anything but a genuine, living identity made for this service.

        Raises ClockSkew for a genuine one whose time cannot be: neighbours sign afresh, so a clock is wrong.
        """
        if not token:
            raise Unauthenticated("This service is reached through the gateway only.")
        now = self._clock()
        cached = self._verified.get(token)
        if cached is not None and now < cached[0]:
            return cached[1]
        expires, caller = self._check(token, now)
        _keep(self._verified, token, (expires, caller))
        return caller

    def _check(self, token: bytes, now: float) -> tuple[float, Caller]:
        body, _, signature = token.partition(b".")
        try:
            genuine = hmac.compare_digest(hmac.digest(self._key, body, hashlib.sha256), _decode(signature))
            claims = orjson.loads(_decode(body)) if genuine else {}
        except (Base64Error, ValueError) as error:
            raise Unauthenticated("The internal identity is not readable.") from error
        if not genuine or claims.get("aud") != self._audience:
            raise Unauthenticated("The internal identity is not valid here.")
        dies = float(claims["exp"]) + TOLERANCE
        if not now < dies <= now + LIFETIME + 2 * TOLERANCE:
            raise self._skewed(str(claims["iss"]), ahead=dies - TOLERANCE - LIFETIME - now, now=now)
        principal = (
            Principal(claims["sub"], claims["org"], claims["role"], claims["plan"], claims["jti"])
            if "sub" in claims
            else None
        )
        return dies, Caller(claims["iss"], principal)

    def _skewed(self, issuer: str, *, ahead: float, now: float) -> ClockSkew:
        """`ahead`: by how many seconds the issuer's clock is, when the identity was signed just now."""
        SKEWED.labels(issuer).inc()
        if now >= self._told.get(issuer, 0) + TELL_EVERY:
            self._told[issuer] = now
            log.error("clock_skew", issuer=issuer, seconds_ahead=round(ahead))
        return ClockSkew()
