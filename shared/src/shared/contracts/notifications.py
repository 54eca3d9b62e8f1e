"""What notification-service promises to its neighbours: one notification per event, whatever is retried."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from shared.contracts import Contract


class NotificationEvent(Contract):
    """Something a user should hear of; idempotent by (user_id, event_id)."""

    event_id: str
    organization_id: str
    user_id: str
    type: str
    title: Annotated[str, Field(max_length=200)]
    body: Annotated[str, Field(max_length=4_000)] = ""
    data: dict[str, JsonValue] = {}
    occurred_at: datetime


class NotificationAccepted(Contract):
    """The id of the notification; `duplicate` when the event was known."""

    id: str
    duplicate: bool


class OutboxPage(Contract):
    """Events a sender keeps, so that an emptied inbox can be rebuilt; oldest first."""

    events: list[NotificationEvent]
    next_cursor: str | None
