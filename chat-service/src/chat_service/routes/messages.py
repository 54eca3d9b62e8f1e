"""`POST /chat/message`: the hottest route of all, an operation (`shared.operations`)."""

import re
from dataclasses import replace
from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from chat_service.domain import message_ids
from chat_service.domain.conversation import Conversation, Reply, Sending
from chat_service.routes.bodies import MessageIn, MessageOut
from shared.bodies import StrictRoute
from shared.callers import CurrentCaller, CurrentPrincipal
from shared.edge import header
from shared.idempotency import KEY_PARAMETER, REPLAYED, Idempotency, KeyedRequest, fingerprint, key_of
from shared.ids import parse_id
from shared.operations import RawResponse
from shared.parts import Part
from shared.principal import Caller, Principal
from shared.problems import responses

PATH = "/chat/message"
JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
PIECE = re.compile(r"\S*\s*(?:\S+\s*){0,7}")
"""A streamed piece of a reply: about eight words, spaces kept."""
VERSION = 7


router = APIRouter(tags=["chat"], route_class=StrictRoute)


@router.post(
    PATH,
    response_model=MessageOut,
    responses={
        **responses(400, 401, 409, 413, 415, 422, 429, 503),
        200: {"content": {EVENT_STREAM.decode(): {"schema": {"type": "string"}}}},
    },
    openapi_extra={"parameters": [KEY_PARAMETER]},
)
async def send_message(
    request: Request,
    body: MessageIn,
    caller: CurrentCaller,
    principal: CurrentPrincipal,
    conversation: Part[Conversation],
    idempotency: Part[Idempotency],
) -> Response:
    """Answer a question and remember the turn.

    With `Accept: text/event-stream` the reply comes as events: `reply` (pieces, `{"text"}`), then `message` (all).
    Only `answered` is charged. A repeat under the same `Idempotency-Key` gets the identical body and
    `Idempotency-Replayed: true`.
    """
    sending = Sending(
        message_id=_message_id(request.scope, caller),
        text=body.message,
        session_id=body.session_id,
        language=body.language,
        tags=tuple(sorted(body.tags)),
    )
    key = key_of(request.scope["headers"])
    if key is None:
        reply = await conversation.send_message(principal, sending)
        return _answer(request.scope, render(reply), reply.degraded, replayed=False)

    async def work(message_id: UUID) -> bytes:
        return render(await conversation.send_message(principal, replace(sending, message_id=message_id)))

    once = await idempotency.once(_keyed(key, principal, body), work, work_id=sending.message_id)
    return _answer(request.scope, once.reply, orjson.loads(once.reply)["degraded"], replayed=once.is_replayed)


def _message_id(scope: Scope, caller: Caller) -> UUID:
    """The id that the gateway gave this request, so that its repeat on another replica is the same message."""
    given = header(scope, b"x-retry-key") if caller.service == "gateway" else None
    parsed = parse_id(given.decode("latin-1")) if given else None
    if parsed is not None and parsed.version == VERSION:
        return message_ids.answer_id(parsed)
    return message_ids.new_message_id()


def _keyed(key: str, principal: Principal, body: MessageIn) -> KeyedRequest:
    canonical = orjson.dumps(body.model_dump(exclude_unset=True), option=orjson.OPT_SORT_KEYS)
    return KeyedRequest(principal.organization_id, principal.user_id, PATH, key, fingerprint(canonical))


def render(reply: Reply) -> bytes:
    """The reply as JSON."""
    usage = reply.usage
    return orjson.dumps(
        {
            "session_id": reply.session_id,
            "message_id": reply.message_id,
            **reply.answer.public,
            "cache": reply.cache,
            "persisted": reply.persisted,
            "degraded": reply.degraded,
            "usage": {"used": usage.used, "limit": usage.limit, "remaining": usage.remaining},
            "created_at": reply.created_at,
        },
        option=orjson.OPT_UTC_Z,
    )


def as_events(rendered: bytes) -> bytes:
    """The reply as server-sent events: its text in pieces, then the whole."""
    text: str = orjson.loads(rendered)["reply"]
    pieces = [piece for piece in PIECE.findall(text) if piece]
    events = [b"event: reply\ndata: " + orjson.dumps({"text": piece}) + b"\n\n" for piece in pieces]
    return b"".join([*events, b"event: message\ndata: ", rendered, b"\n\n"])


def _answer(scope: Scope, rendered: bytes, degraded: tuple[str, ...], *, replayed: bool) -> RawResponse:
    headers = []
    if degraded:
        headers.append((b"degraded", ", ".join(degraded).encode()))
    if replayed:
        headers.append((REPLAYED.lower().encode(), b"true"))
    if EVENT_STREAM in (header(scope, b"accept") or b""):
        headers.append((b"cache-control", b"no-store"))
        return RawResponse(as_events(rendered), EVENT_STREAM + b"; charset=utf-8", *headers)
    return RawResponse(rendered, JSON, *headers)
