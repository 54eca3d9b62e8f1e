"""`Idempotency-Key` for routes that create: the same key gives the same reply, and the work is done once."""

import hashlib
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from starlette.types import Message, Receive

from knowledge_service.domain.keyed import KeyedReplies, KeyedReply, KeyedRequest
from shared.bodies import StrictRoute
from shared.callers import current_principal
from shared.errors import BodyTooLarge, FieldError, IdempotencyConflict, IdempotencyMismatch, InvalidRequest
from shared.parts import parts_of

KEY = re.compile(r"[\x21-\x7e]{1,255}")
LARGEST = 10 * 1024 * 1024 + 64 * 1024
BOUNDARY = re.compile(rb'boundary="?([^";,]+)')


class KeyedRoute(StrictRoute):
    """A route whose POSTs honour `Idempotency-Key`.

    Only success is remembered: a refused request may be sent again with the same key.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The strict handler behind the key."""
        handle = super().get_route_handler()
        if "POST" not in (self.methods or ()):
            return handle
        route = f"POST {self.path}"

        async def keyed(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None:
                return await handle(request)
            return await _once(request, route, key, handle)

        return keyed


async def _once(
    request: Request, route: str, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    if KEY.fullmatch(key) is None:
        error = FieldError("Idempotency-Key", "invalid_key", "1 to 255 visible ASCII characters.")
        raise InvalidRequest(errors=(error,))
    principal = await current_principal(request)
    replies = parts_of(request)[KeyedReplies]  # type: ignore[type-abstract] # a part is asked for by its Protocol
    keyed = KeyedRequest(principal.organization_id, principal.user_id, route, key)
    body = await _body(request)
    fingerprint = _fingerprint(request, body)
    known = await replies.find(keyed)
    if known is not None:
        return _replayed(known, fingerprint)
    if not await replies.claim(keyed):
        raise IdempotencyConflict(retry_after=1)
    try:
        response = await handle(Request(request.scope, receiving(body)))
        await replies.save(
            keyed,
            KeyedReply(fingerprint, response.status_code, bytes(response.body), response.headers.get("location", "")),
        )
    finally:
        await replies.release(keyed)
    return response


def _replayed(known: KeyedReply, fingerprint: str) -> Response:
    if known.fingerprint != fingerprint:
        raise IdempotencyMismatch
    headers = {"Idempotency-Replayed": "true"} | ({"Location": known.location} if known.location else {})
    return Response(known.body, known.status, headers, media_type="application/json")


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST:
            raise BodyTooLarge
        parts.append(part)
    return b"".join(parts)


def _fingerprint(request: Request, body: bytes) -> str:
    """A checksum of the query and the body; a client makes a new multipart boundary for every try, so that is out."""
    found = BOUNDARY.search(request.headers.get("content-type", "").encode())
    content = body.replace(found[1], b"") if found else body
    return hashlib.sha256(request.url.query.encode() + b"\x00" + content).hexdigest()


def receiving(body: bytes) -> Receive:
    """A `receive` that gives a body that was read before."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
