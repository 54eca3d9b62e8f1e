"""The door for neighbours: something a user should hear of."""

from fastapi import APIRouter

from notification_service.domain.inbox import Inboxes
from notification_service.wire import event_of
from shared.bodies import StrictRoute
from shared.callers import InternalCaller
from shared.contracts.notifications import NotificationAccepted, NotificationEvent
from shared.parts import Part

router = APIRouter(prefix="/internal", include_in_schema=False, route_class=StrictRoute)


@router.post("/notifications", status_code=202)
async def notify(body: NotificationEvent, _caller: InternalCaller, inboxes: Part[Inboxes]) -> NotificationAccepted:
    """Deliver an event; repeated as often as needed it is one notification."""
    delivered = await inboxes.deliver(event_of(body))
    return NotificationAccepted(id=str(delivered.place.id), duplicate=delivered.duplicate)
