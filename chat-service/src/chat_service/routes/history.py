"""Histories, sessions and feedback."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from chat_service.domain.conversation import Conversation
from chat_service.domain.turns import Message
from chat_service.routes.bodies import SESSION_ID, FeedbackIn, FeedbackOut, HistoryOut, SessionsOut
from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal
from shared.cursors import Cursors
from shared.errors import NotFound
from shared.fields import Cursor, Limit
from shared.ids import parse_id
from shared.parts import Part
from shared.principal import Principal
from shared.problems import responses

router = APIRouter(tags=["chat"], route_class=StrictRoute)


async def _known_session(session_id: str) -> str:
    """A session id that may exist; any other is as absent as an unknown one."""
    if not SESSION_ID.fullmatch(session_id):
        raise NotFound
    return session_id


SessionId = Annotated[str, Depends(_known_session)]


@router.get("/chat/history/{session_id}", response_model=HistoryOut, responses=responses(401, 404, 422, 503))
async def read_history(
    session_id: SessionId,
    principal: CurrentPrincipal,
    conversation: Part[Conversation],
    cursors: Part[Cursors],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """The latest messages of a session, oldest first on each page; the cursor goes back in time."""
    scope = f"history:{_whose(principal)}:{session_id}"
    before = parse_id(cursors.read(scope, cursor)) if cursor else None
    page = await conversation.read_history(principal, session_id, limit, before)
    next_cursor = cursors.make(scope, str(page.messages[-1].id)) if page.has_older else None
    body: dict[str, Any] = {
        "session_id": session_id,
        "messages": [_message(message) for message in reversed(page.messages)],
        "next_cursor": next_cursor,
    }
    if page.degraded:
        body["degraded"] = page.degraded
    return _json(body, page.degraded)


@router.get("/chat/sessions", response_model=SessionsOut, responses=responses(401, 422, 503))
async def list_sessions(
    principal: CurrentPrincipal,
    conversation: Part[Conversation],
    cursors: Part[Cursors],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """The user's sessions, newest first."""
    scope = f"sessions:{_whose(principal)}"
    before = parse_id(cursors.read(scope, cursor)) if cursor else None
    page = await conversation.list_sessions(principal, limit, before)
    next_cursor = cursors.make(scope, str(page.sessions[-1].started)) if page.has_older else None
    sessions = [{"session_id": s.id, "title": s.title, "created_at": s.created_at} for s in page.sessions]
    return _json({"sessions": sessions, "next_cursor": next_cursor}, ())


@router.delete("/chat/sessions/{session_id}", status_code=204, responses=responses(401, 404, 503))
async def delete_session(
    session_id: SessionId, principal: CurrentPrincipal, conversation: Part[Conversation]
) -> Response:
    """Delete a session with all its messages."""
    await conversation.delete_session(principal, session_id)
    return Response(status_code=204)


@router.put(
    "/chat/sessions/{session_id}/messages/{message_id}/feedback",
    response_model=FeedbackOut,
    responses=responses(400, 401, 404, 413, 415, 422, 503),
)
async def rate(
    session_id: SessionId,
    message_id: str,
    body: FeedbackIn,
    principal: CurrentPrincipal,
    conversation: Part[Conversation],
) -> Response:
    """Say whether an answer helped; saying it again replaces what was said."""
    known_id = parse_id(message_id)
    if known_id is None:
        raise NotFound
    rated = await conversation.rate(principal, session_id, known_id, body.rating, body.comment)
    degraded = ("conversations",) if rated.persisted == "deferred" else ()
    return _json({"message_id": message_id, **body.model_dump(), "persisted": rated.persisted}, degraded)


def _whose(principal: Principal) -> str:
    return f"{principal.organization_id}:{principal.user_id}"


def _message(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": message.id, "role": message.role, "text": message.text}
    for name in ("outcome", "confidence", "article_id", "rating"):
        value = getattr(message, name)
        if value is not None:
            shown[name] = value
    shown["created_at"] = message.created_at
    return shown


def _json(body: dict[str, Any], degraded: tuple[str, ...]) -> Response:
    """The body as it is: FastAPI's own validation of replies costs more than reading them from CQL."""
    headers = {"Degraded": ", ".join(degraded)} if degraded else None
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), headers=headers, media_type=JSONResponse.media_type)
