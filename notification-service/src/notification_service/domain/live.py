"""Who is listening right now: streams are woken when there may be something new, and read it from the inbox themselves.

A wake-up carries nothing, so a slow reader holds no queue, and a lost one costs a heartbeat's delay, never an event.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta

from notification_service.domain.inbox import Inboxes, Notification, Owner, Place
from shared.errors import CapabilityUnavailable, Overloaded

AT_ONCE = 100
"""Notifications read for a stream at a time."""


class Listeners:
    """The live streams of this process."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._count = 0
        self._waiting: dict[Owner, set[asyncio.Event]] = defaultdict(set)
        self.is_closed = False

    @contextmanager
    def listening(self, owner: Owner) -> Iterator[asyncio.Event]:
        """Set when there may be something new for the owner; raises Overloaded when there is no room."""
        if self._count >= self._at_most:
            raise Overloaded
        wake = asyncio.Event()
        self._waiting[owner].add(wake)
        self._count += 1
        try:
            yield wake
        finally:
            self._count -= 1
            self._waiting[owner].discard(wake)
            if not self._waiting[owner]:
                del self._waiting[owner]

    def wake(self, owner: Owner) -> None:
        """There may be something new for this user."""
        for event in self._waiting.get(owner, ()):
            event.set()

    def wake_all(self) -> None:
        """There may have been something new for anybody."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    def close(self) -> None:
        """End every stream; clients come back to another replica with their last event id."""
        self.is_closed = True
        self.wake_all()


async def follow(
    inboxes: Inboxes, listeners: Listeners, owner: Owner, place: Place, heartbeat: timedelta
) -> AsyncIterator[Notification | None]:
    """Notifications behind a place as they come; None when nothing came for a heartbeat's time."""
    with listeners.listening(owner) as wake:
        while not listeners.is_closed:
            wake.clear()
            try:
                fresh = await inboxes.after(owner, place, AT_ONCE)
            except CapabilityUnavailable:
                fresh = ()
            for notification in fresh:
                yield notification
                place = notification.place
            if len(fresh) == AT_ONCE:
                continue
            try:
                await asyncio.wait_for(wake.wait(), heartbeat.total_seconds())
            except TimeoutError:
                yield None
