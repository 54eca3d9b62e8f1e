"""An emptied Redis loses no notification: the senders keep their events, and an empty inbox is filled from them."""

from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from notification_service.domain.inbox import Event, Inboxes
from shared.errors import ServiceError

log = structlog.get_logger()


class Outbox(Protocol):
    """The events that senders keep, oldest first; raises CapabilityUnavailable while they are out of reach."""

    def events(self) -> AsyncIterator[Event]:
        """All of them."""


class Marker(Protocol):
    """Tells a filled Redis from an emptied one, and lets one replica at a time fill it."""

    async def is_filled(self) -> bool:
        """Whether the inboxes are complete."""

    async def claim(self) -> bool:
        """Whether this process may fill them now."""

    async def release(self) -> None:
        """Another process, or this one later, may fill them."""

    async def set_filled(self) -> None:
        """The inboxes are complete."""


class Rebuild:
    """Fills emptied inboxes; events that came in the meantime are known by their ids and not doubled."""

    def __init__(self, marker: Marker, outbox: Outbox, inboxes: Inboxes) -> None:
        self._marker = marker
        self._outbox = outbox
        self._inboxes = inboxes

    async def run_if_emptied(self) -> int:
        """Fill the inboxes when they are empty; how many events were put back."""
        if await self._marker.is_filled() or not await self._marker.claim():
            return 0
        try:
            count = await self._fill()
        except ServiceError:
            await self._marker.release()
            raise
        await self._marker.set_filled()
        log.info("inboxes_filled", notifications=count)
        return count

    async def _fill(self) -> int:
        count = 0
        async for event in self._outbox.events():
            delivered = await self._inboxes.deliver(event, rebuilt=True)
            count += not delivered.duplicate
        return count
