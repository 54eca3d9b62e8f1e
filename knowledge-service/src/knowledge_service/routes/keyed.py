"""`Idempotency-Key` for routes that create: the same key gives the same reply, and the work is done once."""

import re
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from fastapi import Request, Response

from knowledge_service.domain.keyed import KeptReply
from shared.bodies import StrictRoute, read_limited, receiving
from shared.callers import current_principal
from shared.idempotency import KEY_PARAMETER, REPLAYED, Idempotency, KeyedRequest, fingerprint, key_of
from shared.parts import parts_of

KEYED = {"parameters": [KEY_PARAMETER]}
"""What such a POST adds to its operation in the document."""
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
            key = key_of(request.scope["headers"])
            if key is None:
                return await handle(request)
            return await _once(request, route, key, handle)

        return keyed


async def _once(
    request: Request, route: str, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    principal = await current_principal(request)
    idempotency = parts_of(request)[Idempotency]
    body = await read_limited(request.scope, request.receive, LARGEST)
    keyed = KeyedRequest(principal.organization_id, principal.user_id, route, key, _fingerprint(request, body))

    async def work(_work_id: UUID) -> bytes:
        response = await handle(Request(request.scope, receiving(body)))
        return KeptReply(response.status_code, response.headers.get("location", ""), bytes(response.body)).packed()

    once = await idempotency.once(keyed, work)
    reply = KeptReply.unpacked(once.reply)
    headers = {"Location": reply.location} if reply.location else {}
    if once.is_replayed:
        headers[REPLAYED] = "true"
    return Response(reply.body, reply.status, headers, media_type="application/json")


def _fingerprint(request: Request, body: bytes) -> str:
    """A checksum of the query and the body; a client makes a new multipart boundary for every try, so that is out."""
    found = BOUNDARY.search(request.headers.get("content-type", "").encode())
    content = body.replace(found[1], b"") if found else body
    return fingerprint(request.url.query.encode(), content)
