"""What neighbours may ask: the outbox, for rebuilding an emptied inbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from shared.callers import InternalCaller
from shared.contracts.notifications import OutboxPage
from shared.cursors import Cursors
from shared.fields import Cursor
from shared.parts import Part
from task_worker.domain.task import Event
from task_worker.events import wire

router = APIRouter(prefix="/internal", include_in_schema=False)

SCOPE = "outbox"


class KeptEvents(Protocol):
    """The events of the last 30 days."""

    async def events_since(self, since: datetime, after: tuple[datetime, str] | None, limit: int) -> Sequence[Event]:
        """Events of all organizations, the oldest first."""
        ...


@router.get("/outbox")
async def list_outbox(
    _caller: InternalCaller,
    events: Part[KeptEvents],
    cursors: Part[Cursors],
    since: AwareDatetime,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 500,
    cursor: Cursor = None,
) -> OutboxPage:
    """Events of all organizations from `since` on, the oldest first, delivered or not."""
    position = None if cursor is None else cursors.read(SCOPE, cursor)
    after = None if position is None else (datetime.fromisoformat(position[0]), str(position[1]))
    found = await events.events_since(since, after, limit + 1)
    kept = found[:limit]
    last = kept[-1] if len(found) > limit else None
    return OutboxPage(
        events=[wire(event) for event in kept],
        next_cursor=None if last is None else cursors.make(SCOPE, [last.occurred_at.isoformat(), last.event_id]),
    )
