"""What the gateway needs of auth-service: the keys that sign access tokens, and what was revoked."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import jwt
import orjson
import structlog
from pydantic import ValidationError

from gateway.domain.tokens import INVALID, Claims, RevocationSnapshot, Revoked
from shared.contracts.auth import Revocations
from shared.errors import CapabilityUnavailable, ServiceError, Unauthenticated
from shared.principal import Principal

log = structlog.get_logger()

KEYS_EVERY = timedelta(seconds=60).total_seconds()
REVOCATIONS_EVERY = timedelta(seconds=3).total_seconds()
RETRY_EVERY = timedelta(seconds=1).total_seconds()
UNKNOWN_KEY_EVERY = timedelta(seconds=5).total_seconds()
"""An unknown key id may make us ask again this often, no matter how many tokens name one."""
ALGORITHM = "EdDSA"
REQUIRED = ["exp", "iat", "sub", "jti", "org", "role", "plan"]


class Published(Protocol):
    """What auth-service publishes, by path."""

    async def get(self, path: str) -> bytes:
        """The body of a 200; raises a ServiceError for anything else."""


class PublishedKeys:
    """The public keys of auth-service by their id, and the check of a token against them."""

    def __init__(
        self, calls: Published, *, issuer: str, audience: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    @property
    def are_known(self) -> bool:
        """Whether any key is known."""
        return bool(self._keys)

    async def check(self, token: str) -> Claims:
        """The claims of a genuine token, whatever their time: gateway.domain.tokens judges that.

        Raises Unauthenticated for any other, and CapabilityUnavailable (accounts) while no key is known.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(INVALID) from error
        if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() != "at+jwt":
            raise Unauthenticated(INVALID)
        key = await self._key(str(header.get("kid", "")))
        try:
            claims = jwt.decode(
                token,
                key=key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            return _claims(claims)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise Unauthenticated(INVALID) from error

    async def _key(self, key_id: str) -> jwt.PyJWK:
        if key_id not in self._keys:
            await self._ask_for_unknown()
        if not self._keys:
            raise CapabilityUnavailable(capability="accounts")
        if key_id not in self._keys:
            raise Unauthenticated(INVALID)
        return self._keys[key_id]

    async def _ask_for_unknown(self) -> None:
        async with self._asking:
            if self._clock() - self._asked_at < (UNKNOWN_KEY_EVERY if self._keys else RETRY_EVERY):
                return
            try:
                await self.refresh()
            except ServiceError as error:
                log.warning("keys_unavailable", error=repr(error))

    async def refresh(self) -> None:
        """Ask for the keys; those known are kept when auth-service is away or publishes none."""
        self._asked_at = self._clock()
        document = orjson.loads(await self._calls.get("/.well-known/jwks.json"))
        keys = {key["kid"]: jwt.PyJWK(key, ALGORITHM) for key in document.get("keys", []) if key.get("kty") == "OKP"}
        self._keys = keys or self._keys

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            try:
                await self.refresh()
            except (ServiceError, ValueError, KeyError, jwt.InvalidKeyError) as error:
                log.warning("keys_unavailable", error=repr(error))
            await asyncio.sleep(KEYS_EVERY if self._keys else RETRY_EVERY)


def _claims(claims: dict[str, object]) -> Claims:
    principal = Principal(
        str(claims["sub"]), str(claims["org"]), str(claims["role"]), str(claims["plan"]), str(claims["jti"])
    )
    return Claims(
        principal,
        session_id=str(claims.get("sid", "")),
        issued_at=float(str(claims["iat"])),
        expires_at=float(str(claims["exp"])),
        not_before=float(str(claims.get("nbf", 0))),
    )


def snapshot_of(wire: Revocations) -> RevocationSnapshot:
    """The contract's list of what is revoked, as the gateway looks things up in it."""
    return RevocationSnapshot(
        as_of=wire.as_of.timestamp(),
        jtis=frozenset(entry.id for entry in wire.jtis),
        sessions=frozenset(entry.id for entry in wire.sessions),
        users={entry.id: entry.not_before.timestamp() for entry in wire.users},
        organizations={entry.id: entry.not_before.timestamp() for entry in wire.organizations},
    )


class RevocationFeed:
    """Keeps the snapshot of what is revoked at most a few seconds old."""

    def __init__(self, calls: Published, revoked: Revoked) -> None:
        self._calls = calls
        self._revoked = revoked

    async def refresh(self) -> None:
        """Ask for the snapshot; the last one is kept when auth-service is away."""
        wire = Revocations.model_validate_json(await self._calls.get("/internal/revocations"))
        self._revoked.replace(snapshot_of(wire))

    async def run(self) -> None:
        """Keep the snapshot fresh until cancelled."""
        while True:
            try:
                await self.refresh()
            except (ServiceError, ValidationError) as error:
                log.warning("revocations_unavailable", error=repr(error))
            await asyncio.sleep(REVOCATIONS_EVERY if self._revoked.is_known else RETRY_EVERY)
