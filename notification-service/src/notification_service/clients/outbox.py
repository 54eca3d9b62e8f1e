"""The events that task-worker keeps."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from notification_service.domain.inbox import Event
from notification_service.wire import event_of
from shared.contracts.notifications import OutboxPage
from shared.http_client import ServiceClient


class TaskWorkerOutbox:
    """Everything that task-worker still has, page by page."""

    def __init__(self, task_worker: ServiceClient, kept: timedelta) -> None:
        self._task_worker = task_worker
        self._kept = kept

    async def events(self) -> AsyncIterator[Event]:
        """Oldest first."""
        since = (datetime.now(UTC) - self._kept).isoformat()
        cursor: str | None = None
        while True:
            query = {"since": since, "cursor": cursor}
            page = await self._task_worker.get("/internal/outbox", OutboxPage, query=query)
            for wire in page.events:
                yield event_of(wire)
            if page.next_cursor is None:
                return
            cursor = page.next_cursor
