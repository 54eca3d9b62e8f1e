"""Signed opaque cursors: a place in a list, bound to that list and to whose list it is."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Any

import orjson

from shared.errors import InvalidCursor

SIGNATURE_BYTES = 16
MAX_LENGTH = 2_048


class Cursors:
    """Makes and reads cursors under one key; HMAC-SHA256 cut to 128 bits."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _sign(self, scope: str, body: bytes) -> bytes:
        return hmac.digest(self._key, scope.encode() + b"\x00" + body, hashlib.sha256)[:SIGNATURE_BYTES]

    def make(self, scope: str, position: Any) -> str:  # noqa: ANN401 - any JSON
        """A cursor for `position` (any JSON), good only under the same `scope` ("sessions:ORG:USER")."""
        body = orjson.dumps(position)
        return urlsafe_b64encode(self._sign(scope, body) + body).rstrip(b"=").decode()

    def read(self, scope: str, cursor: str) -> Any:  # noqa: ANN401 - any JSON
        """The position; raises InvalidCursor (422) for anything we did not make for this scope."""
        if len(cursor) > MAX_LENGTH:
            raise InvalidCursor
        try:
            raw = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        except (Base64Error, ValueError) as error:
            raise InvalidCursor from error
        signature, body = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(scope, body)):
            raise InvalidCursor
        return orjson.loads(body)
