"""Which epoch of an organization's knowledge is published, known in process and at most a second old."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from shared.errors import CapabilityUnavailable, ServiceError
from shared.single_flight import SingleFlight

log = structlog.get_logger()

BELIEVED = timedelta(seconds=1)
"""How long an epoch is used without asking anybody."""
POLL_EVERY = timedelta(milliseconds=400)
ACTIVE = timedelta(seconds=10)
"""Organizations that asked within this time are kept fresh in the background."""
RECONCILED = timedelta(seconds=10)
"""How long Redis is trusted before knowledge-service itself is asked again."""
FORGOTTEN = timedelta(minutes=10)
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Published:
    """The epoch that answers now, and the scorer that ranks it."""

    epoch: int
    scorer: str


class EpochFeed(Protocol):
    """The announced epochs: redis-data."""

    async def announced(self, organization_ids: Sequence[str]) -> Mapping[str, int]:
        """The epochs that were announced. Raises CapabilityUnavailable."""
        ...


class EpochSource(Protocol):
    """The truth about epochs: knowledge-service."""

    async def published(self, organization_id: str) -> Published:
        """The published epoch. Raises CapabilityUnavailable."""
        ...


@dataclass(slots=True)
class _Known:
    published: Published
    confirmed_at: float
    reconciled_at: float
    asked_at: float


class Epochs:
    """Epochs only rise, so whoever knows the highest is right; an older value heard late changes nothing.

    Redis tells of changes (announcements and one poll for all active organizations); knowledge-service is asked for an
    organization that is new here, every 10 s, and whenever Redis is away and the copy is more than a second old.
    """

    def __init__(self, feed: EpochFeed, source: EpochSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._feed = feed
        self._source = source
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asked = SingleFlight[str, None]()
        self._feed_away = False
        self.is_degraded = False

    def believed(self, organization_id: str) -> Published | None:
        """The epoch, if this process has it fresh enough to use as it is."""
        known = self._known.get(organization_id)
        if known is None:
            return None
        now = self._clock()
        known.asked_at = now
        return known.published if now - known.confirmed_at <= BELIEVED.total_seconds() else None

    async def current(self, organization_id: str) -> Published:
        """The epoch now. Raises CapabilityUnavailable("knowledge") when it was never known and nobody can be asked."""
        believed = self.believed(organization_id)
        if believed is not None:
            return believed
        await self._asked.run(organization_id, lambda: self._confirm(organization_id))
        return self._known[organization_id].published

    def announce(self, organization_id: str, epoch: int) -> None:
        """An epoch was published."""
        known = self._known.get(organization_id)
        if known is not None and epoch > known.published.epoch:
            known.published = Published(epoch, known.published.scorer)

    def learn(self, organization_id: str, published: Published) -> None:
        """knowledge-service said so itself."""
        now = self._clock()
        known = self._known.get(organization_id)
        if known is None:
            self._known[organization_id] = _Known(published, now, now, now)
        elif published.epoch >= known.published.epoch:
            known.published = published
            known.confirmed_at = known.reconciled_at = now

    async def keep_fresh(self) -> None:
        """Follow the active organizations for ever."""
        while True:
            await asyncio.sleep(POLL_EVERY.total_seconds())
            await self.refresh()

    async def refresh(self) -> None:
        """One look at Redis for all active organizations; some of them are asked for at knowledge-service."""
        now = self._clock()
        for organization_id in [k for k, v in self._known.items() if now - v.asked_at > FORGOTTEN.total_seconds()]:
            del self._known[organization_id]
        active = [k for k, v in self._known.items() if now - v.asked_at <= ACTIVE.total_seconds()]
        if not active:
            return
        try:
            announced = await self._feed.announced(active)
        except CapabilityUnavailable:
            self._feed_away = True
            return
        if self._feed_away:
            # What was published meanwhile may be missing there: ask the source about everybody once.
            self._feed_away = False
            for known in self._known.values():
                known.reconciled_at = 0.0
        self._confirm_announced(active, announced, now)
        due = [k for k in active if self._is_due(self._known[k], now)]
        for start in range(0, len(due), AT_ONCE):
            await asyncio.gather(*(self._reconcile(k) for k in due[start : start + AT_ONCE]))

    def _confirm_announced(self, organization_ids: Sequence[str], announced: Mapping[str, int], now: float) -> None:
        for organization_id in organization_ids:
            self.announce(organization_id, announced.get(organization_id, 0))
            known = self._known[organization_id]
            if not self._is_due(known, now):
                known.confirmed_at = now

    def _is_due(self, known: _Known, now: float) -> bool:
        return now - known.reconciled_at > RECONCILED.total_seconds()

    async def _reconcile(self, organization_id: str) -> None:
        try:
            self.learn(organization_id, await self._source.published(organization_id))
        except ServiceError as error:
            log.warning("epoch_not_reconciled", error=error.code)

    async def _confirm(self, organization_id: str) -> None:
        """Make sure that `_known` has the organization, as fresh as can be."""
        now = self._clock()
        known = self._known.get(organization_id)
        if known is not None and not self._feed_away and not self._is_due(known, now):
            try:
                announced = await self._feed.announced([organization_id])
            except CapabilityUnavailable:
                self._feed_away = True
            else:
                self._confirm_announced([organization_id], announced, self._clock())
                return
        try:
            self.learn(organization_id, await self._source.published(organization_id))
            self.is_degraded = False
        except CapabilityUnavailable:
            if organization_id not in self._known:
                raise
            self.is_degraded = True
            await self._without_source(organization_id)

    async def _without_source(self, organization_id: str) -> None:
        """knowledge-service is away: the announced epoch is the best there is, else the last one known."""
        try:
            announced = await self._feed.announced([organization_id])
        except CapabilityUnavailable:
            announced = {}
        self.announce(organization_id, announced.get(organization_id, 0))
        self._known[organization_id].confirmed_at = self._clock()
