"""A user's inbox: what is in it, what of it is unread, and where a reader is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

SEQUENCE_BITS = 64
"""A place in a stream is a millisecond and a number within it; both fit into a UUIDv7, which has 48 and 74 bits."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a notification stands in its inbox: milliseconds since 1970 and a number within the millisecond."""

    milliseconds: int
    sequence: int = 0

    @classmethod
    def of(cls, notification_id: UUID) -> "Place | None":
        """The place that an id names, or None for an id that is not one of ours."""
        if notification_id.version != 7:  # noqa: PLR2004 - RFC 9562 version 7
            return None
        high, low = (notification_id.int >> 64) & 0xFFF, notification_id.int & (2**62 - 1)
        sequence = high << 62 | low
        return cls(notification_id.int >> 80, sequence) if sequence < 1 << SEQUENCE_BITS else None

    @property
    def id(self) -> UUID:
        """The public id of the notification at this place: a UUIDv7 whose random bits are the number."""
        high, low = self.sequence >> 62, self.sequence & (2**62 - 1)
        return UUID(int=self.milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


START = Place(0)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose inbox it is."""

    organization_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something a user should hear of once; known by (owner, event_id)."""

    event_id: str
    owner: Owner
    type: str
    title: str
    body: str
    data: Mapping[str, Any]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Notification:
    """One line of an inbox."""

    place: Place
    type: str
    title: str
    body: str
    data: Mapping[str, Any]
    created_at: datetime
    read: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where an event is in its owner's inbox; `duplicate` when it was there already."""

    place: Place
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some notifications, newest first; `older` says whether there are more behind the last one."""

    notifications: Sequence[Notification]
    unread: int
    older: bool


class Inboxes(Protocol):
    """Where inboxes are kept. Every method raises CapabilityUnavailable while they are out of reach."""

    async def deliver(self, event: Event, *, rebuilt: bool = False) -> Delivered:
        """Put an event into its owner's inbox unless it is known; `rebuilt` gives it the place of its time."""

    async def page(self, owner: Owner, before: Place | None, limit: int, *, unread: bool) -> Page:
        """The newest notifications before a place (all of them when None)."""

    async def after(self, owner: Owner, place: Place, limit: int) -> Sequence[Notification]:
        """The oldest notifications behind a place."""

    async def latest(self, owner: Owner) -> Place:
        """The place of the newest notification, START for an empty inbox."""

    async def mark_read(self, owner: Owner, place: Place) -> bool:
        """Mark one as read; False when there is none at this place."""

    async def mark_all_read(self, owner: Owner) -> None:
        """Mark all of them as read."""
