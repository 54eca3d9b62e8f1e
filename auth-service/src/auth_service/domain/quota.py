"""Quota: leases over an exactly-once ledger, so that a plan is never passed and nothing is charged twice."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

import structlog

from auth_service.domain.clock import Clock
from shared.errors import NotFound, QuotaExceeded
from shared.ids import new_id

log = structlog.get_logger()

Meter = Literal["messages", "tasks"]
Settlement = Literal["committed", "refunded"]

LEASE = timedelta(seconds=60)
GRACE = timedelta(seconds=5)
"""How much later than its holder was told a lease is closed: usage burned in the last second is still on its way."""

SHARE = 16
"""A lease is at most this part of what is left. So leases shrink to one unit near the limit, and no holder sits on
units while another, asking as often, has to refuse."""

AT_ONCE = 4
"""Organizations of one report that are recorded at the same time."""

FORGOTTEN = timedelta(days=7)
"""A reservation that nobody settled for so long belongs to a task that was never started."""


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar month in UTC; `end` is where the next begins."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, moment: datetime) -> "Period":
        """The month that a moment lies in."""
        start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return cls(start, (start + timedelta(days=32)).replace(day=1))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a plan gives a month; `limit` None is unlimited."""

    plan: str
    limit: int | None


@dataclass(frozen=True, slots=True)
class Counters:
    """One meter of one month: recorded, reserved for work in progress, and out on leases."""

    used: int = 0
    reserved: int = 0
    leased: int = 0

    def room(self, limit: int | None) -> int | None:
        """Units that may still be given out; None without a limit."""
        return None if limit is None else max(0, limit - self.used - self.reserved - self.leased)

    def grantable(self, limit: int | None, want: int) -> int:
        """How much of `want` a lease gets: a share of the room, at least one unit while there is any."""
        room = self.room(limit)
        return want if room is None else min(want, room, max(1, room // SHARE))


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """Who asks for how much."""

    organization_id: UUID
    meter: Meter
    want: int
    holder: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as granted; `granted` 0 when the plan is spent. `used` counts recorded usage."""

    lease_id: UUID
    granted: int
    used: int
    allowance: Allowance
    expires_at: datetime
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One charged unit."""

    event_id: str
    meter: Meter
    lease_id: UUID | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class LeaseReturn:
    """Units of a lease that will not be burned."""

    lease_id: UUID
    unburned: int


@dataclass(frozen=True, slots=True)
class Report:
    """Usage of one organization, with the leases that come back with it."""

    events: Sequence[UsageEvent]
    returns: Sequence[LeaseReturn]


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many events were new, and how many were not."""

    recorded: int = 0
    duplicates: int = 0

    def __add__(self, other: "Recorded") -> "Recorded":
        return Recorded(self.recorded + other.recorded, self.duplicates + other.duplicates)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A unit kept for a piece of work; `used` counts it."""

    id: UUID
    used: int
    limit: int | None
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """A meter as its organization sees it: what is reserved counts as used."""

    used: int
    limit: int | None

    @property
    def remaining(self) -> int | None:
        """What is left; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Usage:
    """An organization's month so far."""

    plan: str
    period: Period
    messages: MeterUsage
    tasks: MeterUsage


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """A plan and what it gives a month; None is unlimited."""

    id: str
    name: str
    messages: int | None
    tasks: int | None


class QuotaStore(Protocol):
    """Where the counters and the ledger are."""

    async def grant(self, asked: LeaseRequest, lease_id: UUID, now: datetime) -> Grant:
        """Lease what may be leased in one conditional write. Raises NotFound for an unknown organization."""
        ...

    async def record(self, organization_id: UUID, report: Report, now: datetime) -> Recorded:
        """Write new events, raise the counters by them alone, settle their leases; all or nothing.

        Raises NotFound for an unknown organization.
        """
        ...

    async def reserve(
        self, organization_id: UUID, meter: Meter, event_id: str, reservation_id: UUID, now: datetime
    ) -> Reservation:
        """Reserve one unit, or find the reservation there is. Raises QuotaExceeded, NotFound."""
        ...

    async def settle(self, organization_id: UUID, event_id: str, outcome: Settlement, now: datetime) -> None:
        """End a reservation; again the same way is nothing. Raises NotFound, Conflict (it ended the other way)."""
        ...

    async def usage(self, organization_id: UUID, now: datetime) -> Usage:
        """The month so far. Raises NotFound."""
        ...

    async def plans(self) -> Sequence[PlanOffer]:
        """What is on offer, smallest first."""
        ...

    async def close_expired(self, now: datetime) -> int:
        """Take back the unburned units of expired leases and forgotten reservations; how many were closed."""
        ...


class Quota:
    """The promises about usage."""

    def __init__(self, store: QuotaStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def lease(self, asked: LeaseRequest) -> Grant:
        """Units that the holder may burn for a minute without asking again."""
        return await self._store.grant(asked, new_id(), self._clock())

    async def record(self, reports: Mapping[UUID, Report]) -> Recorded:
        """Write usage into the ledger, exactly once per event however often it is sent."""
        admission = asyncio.Semaphore(AT_ONCE)

        async def record_one(organization_id: UUID, report: Report) -> Recorded:
            async with admission:
                return await self._record(organization_id, report)

        recorded = await asyncio.gather(*(record_one(id_, report) for id_, report in reports.items()))
        return sum(recorded, Recorded())

    async def _record(self, organization_id: UUID, report: Report) -> Recorded:
        try:
            return await self._store.record(organization_id, report, self._clock())
        except NotFound:
            # Refusing the whole report would make its sender repeat it for ever, and hold back everybody's usage.
            log.error("usage_of_unknown_organization", organization_id=str(organization_id), events=len(report.events))
            return Recorded()

    async def reserve(self, organization_id: UUID, meter: Meter, event_id: str) -> Reservation:
        """Keep a unit for work that is charged when it succeeds. Raises QuotaExceeded (429)."""
        return await self._store.reserve(organization_id, meter, event_id, new_id(), self._clock())

    async def settle(self, organization_id: UUID, event_id: str, outcome: Settlement) -> None:
        """Charge a reserved unit or give it back."""
        await self._store.settle(organization_id, event_id, outcome, self._clock())

    async def usage(self, organization_id: UUID) -> Usage:
        """The month so far."""
        return await self._store.usage(organization_id, self._clock())

    async def plans(self) -> Sequence[PlanOffer]:
        """What is on offer."""
        return await self._store.plans()


def quota_exceeded(resets_at: datetime) -> QuotaExceeded:
    """The refusal of a spent plan, which says when it will not be."""
    return QuotaExceeded(resets_at=resets_at.isoformat())
