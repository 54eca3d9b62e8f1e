"""`POST /chat/message`: the hottest route, served as a plain ASGI endpoint and documented like any other."""

import re
from typing import Any
from uuid import UUID

import orjson
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_service.domain import message_ids
from chat_service.domain.conversation import Conversation, Reply, Sending
from chat_service.routes.bodies import MessageIn, MessageOut
from shared.bodies import parse_json, read_limited
from shared.edge import header, send_problem
from shared.errors import (
    ServiceError,
    Unauthenticated,
    UnsupportedMediaType,
)
from shared.idempotency import KEY_PARAMETER, Answered, Idempotency, KeyedRequest, fingerprint, key_of
from shared.ids import parse_id
from shared.principal import Caller, Principal
from shared.problems import invalid, responses
from shared.service import Service

PATH = "/chat/message"
MAX_BODY = 1 << 20
JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
PIECE = re.compile(r"\S*\s*(?:\S+\s*){0,7}")
"""A streamed piece of a reply: about eight words, spaces kept."""
VERSION = 7

_message_in = TypeAdapter(MessageIn)


class HotLane:
    """Takes `POST /chat/message` past the router and the exception machinery, which cost more than reading it.

    It belongs right inside `shared.edge.Edge`, which has verified who asks.
    """

    def __init__(self, app: ASGIApp, application: Service) -> None:
        self._app = app
        self._endpoint = SendMessage(application)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a message; everything else goes the usual way."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            await self._endpoint(scope, receive, send)
        except ServiceError as error:
            await send_problem(send, error, scope["request_id"])


class SendMessage:
    """Reads a message, has it answered and writes the reply, as JSON or as a stream of events."""

    path = PATH

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["route"] = self
        principal, caller = _asker(scope)
        body = parse_json(await _read(scope, receive))
        message = _validated(body)
        sending = Sending(
            message_id=_message_id(scope, caller),
            text=message.message,
            session_id=message.session_id,
            language=message.language,
            tags=tuple(sorted(message.tags)),
        )
        parts = self._service.parts
        key = key_of(scope["headers"])
        if key is None:
            reply = await parts[Conversation].send_message(principal, sending)
            await _answer(scope, send, render(reply), reply.degraded, replayed=False)
            return
        request = _keyed(key, principal, body)
        once = await _send_once(parts[Idempotency], parts[Conversation], principal, sending, request)
        await _answer(scope, send, once.reply, orjson.loads(once.reply)["degraded"], replayed=once.is_replayed)


async def _send_once(
    idempotency: Idempotency,
    conversation: Conversation,
    principal: Principal,
    sending: Sending,
    request: KeyedRequest,
) -> Answered:
    async def work(message_id: UUID) -> bytes:
        taken_over = Sending(message_id, sending.text, sending.session_id, sending.language, sending.tags)
        return render(await conversation.send_message(principal, taken_over))

    return await idempotency.once(request, work, work_id=sending.message_id)


def _asker(scope: Scope) -> tuple[Principal, Caller]:
    caller = scope.get("caller")
    if not isinstance(caller, Caller) or caller.principal is None:
        raise Unauthenticated
    return caller.principal, caller


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The body, which has to say that it is JSON."""
    media_type = (header(scope, b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type != JSON and not media_type.endswith(b"+json"):
        raise UnsupportedMediaType
    return await read_limited(scope, receive, MAX_BODY)


def _validated(body: Any) -> MessageIn:  # noqa: ANN401 - JSON is any of it
    try:
        return _message_in.validate_python(body)
    except ValidationError as error:
        raise invalid(error) from error


def _message_id(scope: Scope, caller: Caller) -> UUID:
    """The id that the gateway gave this request, so that its repeat on another replica is the same message."""
    given = header(scope, b"x-retry-key") if caller.service == "gateway" else None
    parsed = parse_id(given.decode("latin-1")) if given else None
    if parsed is not None and parsed.version == VERSION:
        return message_ids.answer_id(parsed)
    return message_ids.new_message_id()


def _keyed(key: str, principal: Principal, body: object) -> KeyedRequest:
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
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


async def _answer(scope: Scope, send: Send, rendered: bytes, degraded: tuple[str, ...], *, replayed: bool) -> None:
    wants_events = EVENT_STREAM in (header(scope, b"accept") or b"")
    body = as_events(rendered) if wants_events else rendered
    headers = [
        (b"content-type", EVENT_STREAM + b"; charset=utf-8" if wants_events else JSON),
        (b"content-length", str(len(body)).encode()),
    ]
    if wants_events:
        headers.append((b"cache-control", b"no-store"))
    if degraded:
        headers.append((b"degraded", ", ".join(degraded).encode()))
    if replayed:
        headers.append((b"idempotency-replayed", b"true"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_message(body: MessageIn) -> MessageOut:
    """Answer a question and remember the exchange.

    With `Accept: text/event-stream` the reply comes as events: `reply` (pieces, `{"text"}`), then `message` (all).
    Only `answered` is charged. A repeat under the same `Idempotency-Key` gets the identical body and
    `Idempotency-Replayed: true`.
    """
    raise NotImplementedError


DOCUMENTED = APIRoute(
    PATH,
    send_message,
    methods=["POST"],
    tags=["chat"],
    openapi_extra={"parameters": [KEY_PARAMETER]},
    responses={
        **responses(400, 401, 409, 413, 415, 422, 429, 503),
        200: {"content": {EVENT_STREAM.decode(): {"schema": {"type": "string"}}}},
    },
)
"""The route as FastAPI would have it, for the OpenAPI document; it is never mounted."""
