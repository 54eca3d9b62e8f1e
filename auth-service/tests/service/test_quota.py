"""Leases, the ledger and reservations."""

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from auth_service.domain.quota import LeaseRequest, LeaseReturn, Recorded, Report, UsageEvent
from shared.errors import Conflict, NotFound, QuotaExceeded
from shared.ids import new_id


def usage(stores: Any, lease_id: UUID | None = None, event_id: str | None = None) -> UsageEvent:
    return UsageEvent(event_id or str(new_id()), "messages", lease_id, stores.watch.now)


async def record(stores: Any, organization_id: UUID, *events: UsageEvent, returns: Any = ()) -> Recorded:
    recorded = await stores.quota.record({organization_id: Report(list(events), list(returns))})
    assert isinstance(recorded, Recorded)
    return recorded


async def lease(stores: Any, organization_id: UUID, want: int = 64, holder: str = "chat-1") -> Any:
    return await stores.quota.lease(LeaseRequest(organization_id, "messages", want, holder))


async def used(stores: Any, organization_id: UUID) -> int:
    return int((await stores.quota.usage(organization_id)).messages.used)


class Holder:
    """A replica of chat-service: burns units of its lease, asks for another one when there is none left."""

    def __init__(self, stores: Any, organization_id: UUID, name: str) -> None:
        self._stores, self._organization_id, self._name = stores, organization_id, name
        self._units: deque[UUID] = deque()
        self._asking = asyncio.Lock()
        self.burned: list[UsageEvent] = []

    async def admit(self) -> bool:
        async with self._asking:
            if not self._units:
                got = await lease(self._stores, self._organization_id, 50, self._name)
                self._units.extend([got.lease_id] * got.granted)
            if not self._units:
                return False
            self.burned.append(usage(self._stores, self._units.popleft()))
        if len(self.burned) >= 20:
            await self.report()
        return True

    async def report(self) -> None:
        burned, self.burned = self.burned, []
        await record(self._stores, self._organization_id, *burned)


async def test_sixty_workers_over_eleven_hundred_asks_admit_exactly_the_plan(stores: Any) -> None:
    organization_id = await stores.organization()
    holders = [Holder(stores, organization_id, f"chat-{number}") for number in range(3)]
    asks = iter(range(1_100))
    admitted = Counter[bool]()

    async def worker() -> None:
        for ask in asks:
            admitted[await holders[ask % len(holders)].admit()] += 1

    await asyncio.gather(*(worker() for _ in range(60)))
    for holder in holders:
        await holder.report()

    assert admitted == {True: 1_000, False: 100}
    assert await used(stores, organization_id) == 1_000


async def test_leases_of_one_unit_never_pass_the_plan_either(stores: Any) -> None:
    organization_id = await stores.organization()
    await record(stores, organization_id, *(usage(stores) for _ in range(950)))

    granted = [got.granted for got in await asyncio.gather(*(lease(stores, organization_id, 1) for _ in range(60)))]

    assert Counter(granted) == {1: 50, 0: 10}


async def test_leases_shrink_to_one_unit_near_the_limit(stores: Any) -> None:
    organization_id = await stores.organization()

    first = await lease(stores, organization_id)
    await record(stores, organization_id, *(usage(stores) for _ in range(925)))
    near = await lease(stores, organization_id)

    assert first.granted == 62
    assert near.granted == 1


async def test_a_spent_plan_says_when_it_begins_anew(stores: Any) -> None:
    organization_id = await stores.organization()
    await record(stores, organization_id, *(usage(stores) for _ in range(1_000)))

    spent = await lease(stores, organization_id)
    stores.watch.now = datetime(2026, 12, 1, tzinfo=UTC)
    anew = await lease(stores, organization_id)

    assert (spent.granted, spent.used, spent.allowance.limit) == (0, 1_000, 1_000)
    assert spent.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert (anew.granted, anew.used) == (62, 0)


async def test_an_event_is_charged_once_however_often_it_is_sent(stores: Any) -> None:
    organization_id = await stores.organization()
    got = await lease(stores, organization_id)
    events = [usage(stores, got.lease_id) for _ in range(10)]

    outcomes = await asyncio.gather(*(record(stores, organization_id, *events) for _ in range(6)))
    twice_in_one = await record(stores, organization_id, events[0], usage(stores, None, "new"))

    assert sum(one.recorded for one in outcomes) == 10
    assert sum(one.duplicates for one in outcomes) == 50
    assert (twice_in_one.recorded, twice_in_one.duplicates) == (1, 1)
    assert await used(stores, organization_id) == 11


async def test_a_repeated_report_does_not_give_units_back_twice(stores: Any) -> None:
    organization_id = await stores.organization()
    got = await lease(stores, organization_id)
    events = [usage(stores, got.lease_id) for _ in range(got.granted)]
    for _ in range(3):
        await record(stores, organization_id, *events)

    await record(stores, organization_id, *(usage(stores) for _ in range(1_000 - got.granted - 1)))

    assert [(await lease(stores, organization_id)).granted for _ in range(2)] == [1, 0]


async def test_unburned_units_come_back_when_a_lease_is_returned(stores: Any) -> None:
    organization_id = await stores.organization()
    await record(stores, organization_id, *(usage(stores) for _ in range(900)))
    got = await lease(stores, organization_id)
    rest = [await lease(stores, organization_id, 1) for _ in range(100 - got.granted)]
    spent = await lease(stores, organization_id)

    back = LeaseReturn(got.lease_id, got.granted - 1)
    await record(stores, organization_id, usage(stores, got.lease_id), returns=[back, back])

    assert (got.granted, rest[-1].granted, spent.granted) == (6, 1, 0)
    assert [(await lease(stores, organization_id, 1)).granted for _ in range(6)] == [1] * 5 + [0]


async def test_unburned_units_come_back_when_a_lease_expires(stores: Any) -> None:
    organization_id = await stores.organization()
    await record(stores, organization_id, *(usage(stores) for _ in range(999)))
    got = await lease(stores, organization_id)
    stores.watch.forward(timedelta(seconds=64))
    within_grace = await lease(stores, organization_id)
    stores.watch.forward(timedelta(seconds=2))

    assert (got.granted, within_grace.granted) == (1, 0)
    assert (await lease(stores, organization_id)).granted == 1


async def test_the_sweep_closes_expired_leases_of_every_organization(stores: Any) -> None:
    first, second = await stores.organization(), await stores.organization()
    for organization_id in (first, second):
        await lease(stores, organization_id)
    stores.watch.forward(timedelta(seconds=66))

    closed = await stores.quota_store.close_expired(stores.watch.now)

    assert closed >= 2
    assert await stores.quota_store.close_expired(stores.watch.now) == 0


async def test_late_usage_of_an_expired_lease_is_recorded(stores: Any) -> None:
    organization_id = await stores.organization()
    got = await lease(stores, organization_id)
    stores.watch.forward(timedelta(minutes=10))
    await stores.quota_store.close_expired(stores.watch.now)

    late = await record(stores, organization_id, *(usage(stores, got.lease_id) for _ in range(5)))

    assert late.recorded == 5
    assert await used(stores, organization_id) == 5


async def test_usage_belongs_to_the_month_it_happened_in(stores: Any) -> None:
    organization_id = await stores.organization()
    stores.watch.now = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    got = await lease(stores, organization_id)
    burned = [usage(stores, got.lease_id), usage(stores, got.lease_id)]
    stores.watch.forward(timedelta(seconds=2))

    await record(stores, organization_id, *burned, usage(stores, got.lease_id))

    assert await used(stores, organization_id) == 1
    stores.watch.now = datetime(2026, 11, 30, tzinfo=UTC)
    assert await used(stores, organization_id) == 2


async def test_a_lease_of_another_organization_is_left_alone(stores: Any) -> None:
    mine, theirs = await stores.organization(), await stores.organization()
    got = await lease(stores, theirs)

    await record(stores, mine, usage(stores, got.lease_id), returns=[LeaseReturn(got.lease_id, got.granted)])
    await record(stores, theirs, *(usage(stores) for _ in range(1_000 - got.granted)))

    assert (await lease(stores, theirs)).granted == 0


async def test_an_unlimited_plan_grants_what_is_wanted(stores: Any) -> None:
    organization_id = await stores.organization("enterprise")
    await record(stores, organization_id, *(usage(stores) for _ in range(1_001)))

    got = await lease(stores, organization_id, 500)
    seen = await stores.quota.usage(organization_id)

    assert (got.granted, got.allowance.limit, got.used) == (500, None, 1_001)
    assert (seen.messages.remaining, seen.tasks.limit) == (None, 1_000)


async def test_an_unknown_organization_has_no_quota(stores: Any) -> None:
    with pytest.raises(NotFound):
        await lease(stores, new_id())
    with pytest.raises(NotFound):
        await stores.quota.reserve(new_id(), "tasks", "task")
    with pytest.raises(NotFound):
        await stores.quota.usage(new_id())


async def test_of_thirty_reservations_at_once_the_plan_admits_ten(stores: Any) -> None:
    organization_id = await stores.organization()

    async def reserve(number: int) -> bool:
        try:
            await stores.quota.reserve(organization_id, "tasks", f"task-{number}")
        except QuotaExceeded:
            return False
        return True

    admitted = Counter(await asyncio.gather(*(reserve(number) for number in range(30))))

    assert admitted == {True: 10, False: 20}
    with pytest.raises(QuotaExceeded) as refusal:
        await stores.quota.reserve(organization_id, "tasks", "one more")
    assert refusal.value.extra["resets_at"] == "2026-12-01T00:00:00+00:00"


async def test_a_task_is_reserved_once_however_often_it_is_asked_for(stores: Any) -> None:
    organization_id = await stores.organization()

    kept = await asyncio.gather(*(stores.quota.reserve(organization_id, "tasks", "task") for _ in range(6)))

    assert len({one.id for one in kept}) == 1
    assert (await stores.quota.usage(organization_id)).tasks.used == 1


async def test_a_finished_task_is_charged_and_a_failed_one_is_not(stores: Any) -> None:
    organization_id = await stores.organization()
    for task in ("good", "bad"):
        await stores.quota.reserve(organization_id, "tasks", task)

    for _ in range(2):
        await stores.quota.settle(organization_id, "good", "committed")
        await stores.quota.settle(organization_id, "bad", "refunded")

    tasks = (await stores.quota.usage(organization_id)).tasks
    assert (tasks.used, tasks.remaining) == (1, 9)


async def test_a_settled_reservation_stays_settled(stores: Any) -> None:
    organization_id = await stores.organization()
    await stores.quota.reserve(organization_id, "tasks", "task")
    await stores.quota.settle(organization_id, "task", "committed")

    with pytest.raises(Conflict):
        await stores.quota.settle(organization_id, "task", "refunded")
    with pytest.raises(NotFound):
        await stores.quota.settle(organization_id, "another", "refunded")


async def test_a_refunded_task_can_be_reserved_again(stores: Any) -> None:
    organization_id = await stores.organization()
    await stores.quota.reserve(organization_id, "tasks", "task")
    await stores.quota.settle(organization_id, "task", "refunded")

    await stores.quota.reserve(organization_id, "tasks", "task")
    await stores.quota.settle(organization_id, "task", "committed")

    assert (await stores.quota.usage(organization_id)).tasks.used == 1


async def test_leases_returns_usage_and_sweeps_at_once_wait_for_nobody_for_ever(stores: Any) -> None:
    organization_id = await stores.organization("pro")

    async def replica(number: int) -> None:
        for _ in range(10):
            first = await lease(stores, organization_id, 5, f"chat-{number}")
            second = await lease(stores, organization_id, 5, f"chat-{number}")
            events = [usage(stores, second.lease_id), usage(stores, first.lease_id)]
            await record(stores, organization_id, *events, returns=[LeaseReturn(first.lease_id, 4)])

    async def sweep() -> None:
        for _ in range(20):
            await stores.quota_store.close_expired(stores.watch.now + timedelta(minutes=2))

    await asyncio.gather(*(replica(number) for number in range(6)), sweep())

    assert await used(stores, organization_id) == 120


async def test_usage_of_an_unknown_organization_holds_nobody_else_back(stores: Any) -> None:
    known = await stores.organization()
    reports = {id_: Report([usage(stores)], []) for id_ in (new_id(), known, new_id())}

    recorded = await stores.quota.record(reports)

    assert recorded == Recorded(1, 0)
    assert await used(stores, known) == 1
