"""Which built indexes stay in memory: a pure rule over sizes and times, no await and no clock of its own."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar
from uuid import UUID

Built = TypeVar("Built")

WORTH = 10
"""An index stays for so many times the time it took to build: building may cost a tenth of one core at most."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[Built]):
    """One index in memory: its size in bytes, how long it took to build, and until when it may not be evicted."""

    publication_id: UUID
    built: Built
    size: int
    stays_until: float


class PublicationCache(Generic[Built]):
    """Indexes by organization, one each, least recently used out first, bounded by the bytes they hold.

    What is larger than half of the bound is a giant: giants share one place of their own on top of the bound, so that
    they replace one another and never a small one. Nobody is evicted before its index was worth its building.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[str, Entry[Built]] = OrderedDict()
        self._giant: tuple[str, Entry[Built]] | None = None
        self.size = 0
        """Bytes held, the giant left out."""

    def find(self, organization_id: str, publication_id: UUID) -> Built | None:
        """The index of that publication, if it is here."""
        entry = self._entries.get(organization_id)
        if entry is None and self._giant is not None and self._giant[0] == organization_id:
            entry = self._giant[1]
        if entry is None or entry.publication_id != publication_id:
            return None
        if organization_id in self._entries:
            self._entries.move_to_end(organization_id)
        return entry.built

    def wait_for(self, organization_id: str, size: int, now: float) -> timedelta | None:
        """How long an index of that size must wait for a place; None when it may be built now."""
        if size > self._bound // 2:
            blocking = [] if self._giant is None or self._giant[0] == organization_id else [self._giant[1]]
            missing = size if blocking else 0
        else:
            blocking = [entry for owner, entry in self._entries.items() if owner != organization_id]
            former = self._entries.get(organization_id)
            missing = self.size - (former.size if former else 0) + size - self._bound
            if missing <= 0:
                return None
        for entry in sorted(blocking, key=lambda entry: entry.stays_until):
            if missing <= 0:
                return None
            if entry.stays_until > now:
                return timedelta(seconds=entry.stays_until - now)
            missing -= entry.size
        return None

    def put(
        self, organization_id: str, publication_id: UUID, built: Built, *, size: int, took: timedelta, now: float
    ) -> list[Built]:
        """Keep an index, instead of the organization's former one; what had to go for it is returned."""
        entry = Entry(publication_id, built, size, now + WORTH * took.total_seconds())
        gone = self.forget(organization_id)
        if size > self._bound // 2:
            gone += [self._giant[1].built] if self._giant is not None else []
            self._giant = (organization_id, entry)
            return gone
        self._entries[organization_id] = entry
        self.size += size
        while self.size > self._bound:
            gone.append(self._evict(organization_id, now))
        return gone

    def forget(self, organization_id: str) -> list[Built]:
        """Take out the index of an organization; it is returned, if there was one."""
        former = self._entries.pop(organization_id, None)
        if former is not None:
            self.size -= former.size
        elif self._giant is not None and self._giant[0] == organization_id:
            former, self._giant = self._giant[1], None
        return [] if former is None else [former.built]

    def _evict(self, newest: str, now: float) -> Built:
        """Take out the least recently used one whose time is up; where there is none, the least recently used."""
        others = [owner for owner in self._entries if owner != newest]
        up = (owner for owner in others if self._entries[owner].stays_until <= now)
        evicted = self._entries.pop(next(up, others[0]))
        self.size -= evicted.size
        return evicted.built
