"""Events for notification-service."""

from shared.contracts.notifications import NotificationAccepted
from shared.http_client import ServiceClient
from task_worker.domain.task import Event
from task_worker.events import wire


class ServiceNotifications:
    """notification-service's door for events; idempotent by event id."""

    def __init__(self, notifications: ServiceClient) -> None:
        self._notifications = notifications

    async def notify(self, event: Event) -> None:
        """Hand an event over."""
        await self._notifications.post("/internal/notifications", wire(event), NotificationAccepted, repeat=True)
