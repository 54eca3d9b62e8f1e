"""From the wire contract to the domain: what routes and clients both need."""

from notification_service.domain.inbox import Event, Owner
from shared.contracts.notifications import NotificationEvent


def event_of(wire: NotificationEvent) -> Event:
    """An event as the domain knows it."""
    return Event(
        event_id=wire.event_id,
        owner=Owner(wire.organization_id, wire.user_id),
        type=wire.type,
        title=wire.title,
        body=wire.body,
        data=wire.data,
        occurred_at=wire.occurred_at,
    )
