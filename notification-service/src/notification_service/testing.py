"""In-memory twins that keep the same promises as the real stores."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from notification_service.domain.inbox import START, Delivered, Event, Notification, Owner, Page, Place
from notification_service.domain.live import Listeners


class InMemoryInboxes:
    """Inboxes in lists, oldest first; `listeners` are woken as Redis would."""

    def __init__(self, listeners: Listeners, *, size: int = 500) -> None:
        self._listeners = listeners
        self._size = size
        self._inboxes: dict[Owner, list[Notification]] = defaultdict(list)
        self._known: dict[tuple[Owner, str], Place] = {}
        self._clock = 0

    async def deliver(self, event: Event, *, rebuilt: bool = False) -> Delivered:
        """Append an event unless it is known."""
        known = self._known.get((event.owner, event.event_id))
        if known is not None:
            return Delivered(known, duplicate=True)
        inbox = self._inboxes[event.owner]
        place = self._next(event, inbox, rebuilt=rebuilt)
        self._known[event.owner, event.event_id] = place
        inbox.append(
            Notification(place, event.type, event.title, event.body, event.data, event.occurred_at, read=False)
        )
        del inbox[: -self._size]
        self._listeners.wake(event.owner)
        return Delivered(place, duplicate=False)

    def _next(self, event: Event, inbox: Sequence[Notification], *, rebuilt: bool) -> Place:
        self._clock += 1
        now = max(int(event.occurred_at.timestamp() * 1000), inbox[-1].place.milliseconds if inbox else 0)
        return Place(now if rebuilt else now + self._clock, self._clock)

    async def page(self, owner: Owner, before: Place | None, limit: int, *, unread: bool) -> Page:
        """The newest notifications before a place."""
        inbox = self._inboxes[owner]
        found = [n for n in reversed(inbox) if (before is None or n.place < before) and not (unread and n.read)]
        return Page(found[:limit], sum(not n.read for n in inbox), len(found) > limit)

    async def after(self, owner: Owner, place: Place, limit: int) -> Sequence[Notification]:
        """The oldest notifications behind a place."""
        return [n for n in self._inboxes[owner] if n.place > place][:limit]

    async def latest(self, owner: Owner) -> Place:
        """The place of the newest notification."""
        inbox = self._inboxes[owner]
        return inbox[-1].place if inbox else START

    async def mark_read(self, owner: Owner, place: Place) -> bool:
        """Mark one as read, if it is there."""
        for index, notification in enumerate(self._inboxes[owner]):
            if notification.place == place:
                self._inboxes[owner][index] = replace(notification, read=True)
                return True
        return False

    async def mark_all_read(self, owner: Owner) -> None:
        """Mark all of them as read."""
        self._inboxes[owner] = [replace(notification, read=True) for notification in self._inboxes[owner]]


class InMemoryMarker:
    """Tells filled inboxes from emptied ones, as `RedisMarker` does in Redis."""

    def __init__(self) -> None:
        self._filled = False
        self._claimed = False

    async def is_filled(self) -> bool:
        """Whether the inboxes are complete."""
        return self._filled

    async def claim(self) -> bool:
        """Whether the caller may fill them now."""
        is_first, self._claimed = not self._claimed, True
        return is_first

    async def release(self) -> None:
        """Give the claim back without having filled them."""
        self._claimed = False

    async def set_filled(self) -> None:
        """They are complete, and the claim is free."""
        self._filled, self._claimed = True, False
