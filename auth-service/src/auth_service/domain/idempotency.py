"""Requests that may be repeated although their replies hold tokens: what is kept of them is sealed."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.idempotency import Answered, Idempotency, KeyedRequest

NONCE = 12
NOBODY = ""
"""The organization and user of requests that come before there is one."""


class Repeatable:
    """Runs a request once per Idempotency-Key; what is kept opens only with our secret and the very same request."""

    def __init__(self, idempotency: Idempotency, secret: bytes) -> None:
        self._idempotency = idempotency
        self._secret = secret

    async def once(
        self, route: str, given_key: str | None, request: bytes, work: Callable[[], Awaitable[bytes]]
    ) -> Answered:
        """The reply of `work`, which is run unless this key has a reply already; without a key it is always run."""
        if given_key is None:
            return Answered(await work(), is_replayed=False)
        key = self._hash(b"key", route.encode() + b"\x00" + given_key.encode())
        fingerprint = self._hash(b"fingerprint", request)
        cipher = AESGCM(self._hash(b"encryption", request))

        async def sealed(_work_id: UUID) -> bytes:
            nonce = secrets.token_bytes(NONCE)
            return nonce + cipher.encrypt(nonce, await work(), key)

        keyed = KeyedRequest(NOBODY, NOBODY, route, key.hex(), fingerprint.hex())
        kept = await self._idempotency.once(keyed, sealed)
        return Answered(cipher.decrypt(kept.reply[:NONCE], kept.reply[NONCE:], key), kept.is_replayed)

    def _hash(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, b"idempotency " + purpose + b"\x00" + content, hashlib.sha256)
