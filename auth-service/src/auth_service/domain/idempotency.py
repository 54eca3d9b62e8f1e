"""Requests that may be repeated: the first reply is kept for a day and given again, to the same request alone."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auth_service.domain.clock import Clock
from shared.errors import IdempotencyConflict, IdempotencyMismatch

KEPT = timedelta(hours=24)
ABANDONED = timedelta(seconds=30)
"""A request that has no reply by now died with its process: whoever repeats it may begin anew."""

NONCE = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of a key: is it ours to work on, for which request, and the (encrypted) reply if there is one."""

    is_ours: bool
    fingerprint: bytes
    reply: bytes | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply's body, and whether it was given before."""

    body: bytes
    is_replayed: bool


class ReplyStore(Protocol):
    """Where replies are kept."""

    async def claim(self, key: bytes, fingerprint: bytes, *, now: datetime, abandoned: datetime) -> Claim:
        """Take a key that nobody has, or that was claimed before `abandoned` and has no reply; else what is known."""
        ...

    async def keep(self, key: bytes, reply: bytes) -> None:
        """Keep the reply of a claimed key."""
        ...

    async def release(self, key: bytes) -> None:
        """Give a claimed key back: the request was refused and may be made again."""
        ...


class Repeatable:
    """Runs a request once per Idempotency-Key.

    A kept reply holds tokens, so it is encrypted under a key that needs our secret and the very same request.
    Raises IdempotencyConflict (409) while the first is worked on and IdempotencyMismatch (422) for another request.
    """

    def __init__(self, store: ReplyStore, secret: bytes, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock

    async def once(
        self, route: str, given_key: str | None, request: bytes, work: Callable[[], Awaitable[bytes]]
    ) -> Reply:
        """The reply of `work`, which is run unless this key has a reply already; without a key it is always run."""
        if given_key is None:
            return Reply(await work(), is_replayed=False)
        key = self._hash(b"key", route.encode() + b"\x00" + given_key.encode())
        fingerprint = self._hash(b"fingerprint", request)
        now = self._clock()
        claim = await self._store.claim(key, fingerprint, now=now, abandoned=now - ABANDONED)
        if not claim.is_ours:
            return self._replay(claim, fingerprint, key, request)
        try:
            body = await work()
        except BaseException:
            await self._store.release(key)
            raise
        nonce = secrets.token_bytes(NONCE)
        await self._store.keep(key, nonce + self._cipher(request).encrypt(nonce, body, key))
        return Reply(body, is_replayed=False)

    def _replay(self, claim: Claim, fingerprint: bytes, key: bytes, request: bytes) -> Reply:
        if not hmac.compare_digest(claim.fingerprint, fingerprint):
            raise IdempotencyMismatch
        if claim.reply is None:
            raise IdempotencyConflict(retry_after=1)
        nonce, sealed = claim.reply[:NONCE], claim.reply[NONCE:]
        return Reply(self._cipher(request).decrypt(nonce, sealed, key), is_replayed=True)

    def _cipher(self, request: bytes) -> AESGCM:
        return AESGCM(self._hash(b"encryption", request))

    def _hash(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, b"idempotency " + purpose + b"\x00" + content, hashlib.sha256)
