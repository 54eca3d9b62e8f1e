"""An event as it crosses to notification-service: the same at delivery and at a rebuild."""

from typing import cast

from pydantic import JsonValue

from shared.contracts.notifications import NotificationEvent
from task_worker.domain.task import Event


def wire(event: Event) -> NotificationEvent:
    """The event in the contract's words."""
    return NotificationEvent(
        event_id=event.event_id,
        organization_id=event.organization_id,
        user_id=event.user_id,
        type=event.type,
        title=event.title,
        body=event.body,
        data=cast("dict[str, JsonValue]", dict(event.data)),
        occurred_at=event.occurred_at,
    )
