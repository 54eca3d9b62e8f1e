"""The inbox and the live stream of the person who asks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, JsonValue
from starlette.types import Message, Receive, Scope, Send

from notification_service.domain.inbox import START, Inboxes, Notification, Owner, Place
from notification_service.domain.live import Listeners, follow
from notification_service.routes.reader import Pace, owner_of
from shared import deadlines
from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal
from shared.cursors import Cursors
from shared.errors import FieldError, InvalidRequest, NotFound
from shared.fields import Cursor, Limit
from shared.ids import parse_id
from shared.parts import Part
from shared.problems import responses

log = structlog.get_logger()

router = APIRouter(prefix="/notifications", tags=["notifications"], route_class=StrictRoute)

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events `notification`; `id` is for Last-Event-ID.", "content": {"text/event-stream": {}}}
}


class NotificationOut(BaseModel):
    """One notification."""

    id: str
    type: str
    title: str
    body: str
    data: dict[str, JsonValue]
    read: bool
    created_at: datetime


class InboxOut(BaseModel):
    """A page of the inbox, newest first, and how many are unread in all."""

    notifications: list[NotificationOut]
    unread: int
    next_cursor: str | None


class LiveResponse(StreamingResponse):
    """An event stream that ends when its reader takes nothing for too long; the reader resumes with its last id."""

    def __init__(self, events: AsyncIterator[bytes], slowest_reader: timedelta) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._seconds = slowest_reader.total_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to a reader."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._seconds):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except* TimeoutError:
            log.info("slow_reader_dropped")


def shown(notification: Notification) -> NotificationOut:
    """A notification as the public sees it."""
    return NotificationOut(
        id=str(notification.place.id),
        type=notification.type,
        title=notification.title,
        body=notification.body,
        data=dict(notification.data),
        read=notification.read,
        created_at=notification.created_at,
    )


@router.get("", responses=responses(401, 422, 429, 503))
async def list_notifications(
    principal: CurrentPrincipal,
    inboxes: Part[Inboxes],
    cursors: Part[Cursors],
    limit: Limit = 20,
    cursor: Cursor = None,
    *,
    unread: bool = False,
) -> InboxOut:
    """Your notifications, newest first."""
    owner = owner_of(principal)
    scope = f"notifications:{unread}:{owner.organization_id}:{owner.user_id}"
    before = None if cursor is None else Place(*cursors.read(scope, cursor))
    page = await inboxes.page(owner, before, limit, unread=unread)
    last = page.notifications[-1].place if page.older else None
    return InboxOut(
        notifications=[shown(notification) for notification in page.notifications],
        unread=page.unread,
        next_cursor=None if last is None else cursors.make(scope, [last.milliseconds, last.sequence]),
    )


@router.post("/read-all", status_code=204, responses=responses(401, 429, 503))
async def read_all(principal: CurrentPrincipal, inboxes: Part[Inboxes]) -> Response:
    """Mark all of your notifications as read."""
    await inboxes.mark_all_read(owner_of(principal))
    return Response(status_code=204)


@router.post("/{notification_id}/read", status_code=204, responses=responses(401, 404, 429, 503))
async def read_notification(notification_id: str, principal: CurrentPrincipal, inboxes: Part[Inboxes]) -> Response:
    """Mark one of your notifications as read."""
    place = _place_of(notification_id)
    if place is None or not await inboxes.mark_read(owner_of(principal), place):
        raise NotFound
    return Response(status_code=204)


@router.get("/stream", responses=EVENT_STREAM | responses(401, 422, 429, 503), response_class=StreamingResponse)
async def stream_notifications(
    principal: CurrentPrincipal,
    inboxes: Part[Inboxes],
    listeners: Part[Listeners],
    pace: Part[Pace],
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> LiveResponse:
    """Your notifications as they come; with Last-Event-ID from there on, `0` from the oldest kept."""
    owner = owner_of(principal)
    place = await _begin(inboxes, owner, last_event_id)
    deadlines.lift()
    return LiveResponse(_as_events(inboxes, listeners, owner, place, pace.heartbeat), pace.slowest_reader)


async def _begin(inboxes: Inboxes, owner: Owner, last_event_id: str | None) -> Place:
    latest = await inboxes.latest(owner)
    if not last_event_id:
        return latest
    place = START if last_event_id == "0" else _place_of(last_event_id)
    if place is None:
        raise InvalidRequest(errors=(FieldError("Last-Event-ID", "invalid", "Send an id of this stream, or 0."),))
    return place


async def _as_events(
    inboxes: Inboxes, listeners: Listeners, owner: Owner, place: Place, heartbeat: timedelta
) -> AsyncIterator[bytes]:
    yield b": hello\n\n"
    async for notification in follow(inboxes, listeners, owner, place, heartbeat):
        if notification is None:
            yield b": heartbeat\n\n"
            continue
        data = orjson.dumps(shown(notification).model_dump(mode="json"))
        yield b"id: %s\nevent: notification\ndata: %s\n\n" % (str(notification.place.id).encode(), data)


def _place_of(notification_id: str) -> Place | None:
    parsed = parse_id(notification_id)
    return None if parsed is None else Place.of(parsed)
