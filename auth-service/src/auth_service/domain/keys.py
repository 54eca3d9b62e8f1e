"""The keys that sign access tokens: kept encrypted, published before use, withdrawn when no token needs them."""

import itertools
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth_service.domain.clock import Clock
from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

NONCE = 12
PUBLISHED_AHEAD = timedelta(minutes=3)
"""How long a new key is published before it signs: replicas reload every 5 s, gateways every minute."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key as it is stored; `private_key` is encrypted."""

    id: str
    public_key: bytes
    private_key: bytes
    created_at: datetime
    signs_from: datetime

    def as_jwk(self) -> dict[str, Any]:
        """Its public half as RFC 8037 has it."""
        x = urlsafe_b64encode(self.public_key).rstrip(b"=").decode()
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id, "use": "sig", "alg": "EdDSA"}


class KeySafe:
    """Encrypts private keys with AES-256-GCM under a key derived from the deployment's secret."""

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"multidb signing keys").derive(secret)
        self._cipher = AESGCM(derived)

    def make(self, created_at: datetime, signs_from: datetime) -> SigningKey:
        """A new key."""
        private = Ed25519PrivateKey.generate()
        key_id, nonce = secrets.token_urlsafe(9), secrets.token_bytes(NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, private.private_bytes_raw(), key_id.encode())
        return SigningKey(key_id, private.public_key().public_bytes_raw(), sealed, created_at, signs_from)

    def open(self, key: SigningKey) -> Ed25519PrivateKey | None:
        """The private half; None when it was encrypted under another secret."""
        nonce, sealed = key.private_key[:NONCE], key.private_key[NONCE:]
        try:
            return Ed25519PrivateKey.from_private_bytes(self._cipher.decrypt(nonce, sealed, key.id.encode()))
        except InvalidTag:
            return None


class KeyStore(Protocol):
    """Where signing keys are kept."""

    async def all(self) -> Sequence[SigningKey]:
        """Every key."""
        ...

    async def add(self, key: SigningKey) -> None:
        """Keep a new key."""
        ...

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key unless there is one already; of several replicas that start together one wins."""
        ...

    async def remove(self, key_ids: Sequence[str]) -> None:
        """Forget keys."""
        ...


class KeyRing:
    """The keys in memory: what is published, and which one signs. `token_lifetime` is how long a token needs its key.

    Keeps what it knows while the store is away. Raises CapabilityUnavailable(accounts) as long as it knows nothing.
    """

    def __init__(self, store: KeyStore, safe: KeySafe, clock: Clock, token_lifetime: timedelta) -> None:
        self._store = store
        self._safe = safe
        self._clock = clock
        self._needed_after = token_lifetime + timedelta(minutes=1)
        self._published: list[SigningKey] = []
        self._private: dict[str, Ed25519PrivateKey] = {}

    async def reload(self) -> None:
        """Read the keys again; makes the first one, and removes those whose last token has expired."""
        keys = await self._store.all()
        if not any(self._safe.open(key) for key in keys):
            keys = await self._begin(keys)
        expired = self._expired(keys)
        if expired:
            await self._store.remove(expired)
            log.info("signing_keys_withdrawn", keys=expired)
        self._published = [key for key in keys if key.id not in expired]
        self._private = {key.id: private for key in self._published if (private := self._safe.open(key))}

    async def rotate(self) -> SigningKey:
        """Make a key that takes over once it has been published long enough; the old one stays as long as needed."""
        now = self._clock()
        key = self._safe.make(now, now + PUBLISHED_AHEAD)
        await self._store.add(key)
        log.info("signing_key_made", key=key.id, signs_from=key.signs_from.isoformat())
        return key

    def signer(self) -> tuple[str, Ed25519PrivateKey]:
        """Id and private half of the key that signs now."""
        now = self._clock()
        usable = sorted((key for key in self._published if key.id in self._private), key=_age)
        if not usable:
            raise CapabilityUnavailable(capability="accounts")
        begun = [key for key in usable if key.signs_from <= now]
        # None has begun where clocks disagree: the first key, made a moment ago by a machine that is ahead, will do.
        chosen = begun[-1] if begun else usable[0]
        return chosen.id, self._private[chosen.id]

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK set."""
        if not self._published:
            raise CapabilityUnavailable(capability="accounts")
        return {"keys": [key.as_jwk() for key in sorted(self._published, key=_age)]}

    async def _begin(self, unreadable: Sequence[SigningKey]) -> Sequence[SigningKey]:
        now = self._clock()
        key = self._safe.make(now, now)
        if unreadable:
            log.error("signing_keys_unreadable", keys=[old.id for old in unreadable])
            await self._store.add(key)
        else:
            await self._store.add_first(key)
        return await self._store.all()

    def _expired(self, keys: Iterable[SigningKey]) -> list[str]:
        """Keys whose successor signs for so long that every token of theirs is past."""
        ordered = sorted(keys, key=_age)
        past = self._clock() - self._needed_after
        return [old.id for old, successor in itertools.pairwise(ordered) if successor.signs_from <= past]


def _age(key: SigningKey) -> tuple[datetime, str]:
    return key.signs_from, key.id
