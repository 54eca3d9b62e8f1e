"""Telling neighbours what happened here: at least once from here, exactly once there, for as long as it takes."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from shared.errors import CapabilityUnavailable, Conflict, DeadlineExceeded, NotFound, Overloaded, ServiceError
from task_worker.domain.delivery import BATCH, RETRY_CAP, Delivery
from task_worker.domain.task import Event, Settlement, Settling
from task_worker.testing import InMemoryNotifications, InMemoryQuota, InMemoryStore

ERRORS = [CapabilityUnavailable(capability="x"), DeadlineExceeded(), Overloaded()]


class World:
    """A delivery over twins."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.quota = InMemoryQuota()
        self.notifications = InMemoryNotifications()
        self.delivery = Delivery(self.store, self.store, self.notifications, self.quota)

    def put_event(self, event_id: str = "e") -> Event:
        event = Event(event_id, "org", "user", "task.succeeded", "Ready", "Summary.", {}, datetime.now(UTC))
        self.store.events[event_id] = event
        return event

    async def put_settling(self, outcome: Settlement = "commit", *, is_reserved: bool = True) -> Settling:
        settling = Settling("org", uuid4(), outcome, 0)
        self.store.settlements[settling.task_id] = settling
        if is_reserved:
            await self.quota.reserve("org", settling.task_id)
        return settling

    def time_passes(self) -> None:
        """Leases and waits end."""
        self.store.due.clear()


@pytest.fixture
def world() -> World:
    return World()


async def test_a_due_event_is_told_and_then_forgotten(world: World) -> None:
    event = world.put_event()

    assert [await world.delivery.deliver_due() for _ in range(2)] == [1, 0]

    assert world.notifications.told == {"e": 1}
    assert world.notifications.kept["e"].title == event.title
    assert world.store.events == {}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
async def test_what_could_not_be_told_waits_and_is_told_later(world: World, error: ServiceError) -> None:
    world.put_event()
    world.notifications.error = error

    await world.delivery.deliver_due()
    assert world.notifications.told == {}
    assert datetime.now(UTC) - timedelta(seconds=1) < world.store.due["e"] <= datetime.now(UTC) + RETRY_CAP
    world.notifications.error = None
    world.time_passes()
    await world.delivery.deliver_due()

    assert world.notifications.told == {"e": 1}


async def test_waits_stay_bounded_however_often_it_failed(world: World) -> None:
    world.put_event()
    world.notifications.error = Overloaded()

    for _ in range(40):
        world.time_passes()
        await world.delivery.deliver_due()

    assert world.store.events["e"].tries == 40
    assert world.store.due["e"] <= datetime.now(UTC) + RETRY_CAP


async def test_one_event_that_fails_does_not_hold_up_the_others(world: World) -> None:
    class Picky(InMemoryNotifications):
        async def notify(self, event: Event) -> None:
            if event.event_id == "bad":
                raise DeadlineExceeded
            await super().notify(event)

    world.notifications = Picky()
    world.delivery = Delivery(world.store, world.store, world.notifications, world.quota)
    world.put_event("bad")
    world.put_event("good")

    await world.delivery.deliver_due()

    assert world.notifications.told == {"good": 1}
    assert list(world.store.events) == ["bad"]


async def test_an_event_whose_acknowledgement_was_lost_is_told_again_and_kept_once(world: World) -> None:
    event = world.put_event()
    await world.notifications.notify(event)

    await world.delivery.deliver_due()

    assert world.notifications.told == {"e": 2}
    assert len(world.notifications.kept) == 1


@pytest.mark.parametrize(("outcome", "state"), [("commit", "committed"), ("refund", "refunded")])
async def test_a_settlement_reaches_the_reservation(world: World, outcome: Settlement, state: str) -> None:
    settling = await world.put_settling(outcome)

    assert [await world.delivery.deliver_due() for _ in range(2)] == [1, 0]

    assert world.quota.states == {("org", str(settling.task_id)): state}
    assert world.store.settlements == {}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
async def test_a_settlement_waits_for_accounts_that_are_away(world: World, error: ServiceError) -> None:
    await world.put_settling("refund")
    world.quota.error = error
    await world.delivery.deliver_due()
    assert list(world.quota.states.values()) == ["reserved"]

    world.quota.error = None
    world.time_passes()
    await world.delivery.deliver_due()

    assert list(world.quota.states.values()) == ["refunded"]


@pytest.mark.parametrize("error", [NotFound(), Conflict()], ids=lambda error: error.code)
async def test_a_settlement_that_nobody_will_ever_take_is_given_up(world: World, error: ServiceError) -> None:
    await world.put_settling("refund")
    world.quota.error = error

    assert [await world.delivery.deliver_due() for _ in range(2)] == [1, 0]

    assert world.store.settlements == {}


async def test_a_reservation_settled_the_other_way_keeps_its_state(world: World) -> None:
    settling = await world.put_settling("refund")
    await world.quota.settle(Settling("org", settling.task_id, "commit", 0))

    await world.delivery.deliver_due()

    assert list(world.quota.states.values()) == ["committed"]


async def test_settlements_go_on_while_notifications_are_away(world: World) -> None:
    world.put_event()
    await world.put_settling()
    world.notifications.error = Overloaded()

    await world.delivery.deliver_due()

    assert list(world.quota.states.values()) == ["committed"]
    assert list(world.store.events) == ["e"]


async def test_a_round_takes_a_batch_and_says_that_there_may_be_more(world: World) -> None:
    for number in range(BATCH + 3):
        world.put_event(f"e{number}")

    assert [await world.delivery.deliver_due() for _ in range(3)] == [BATCH, 3, 0]

    assert len(world.notifications.kept) == BATCH + 3


async def test_two_relays_share_what_is_due(world: World) -> None:
    for number in range(BATCH + 3):
        world.put_event(f"e{number}")
    first = await world.store.claim_events(BATCH, timedelta(seconds=30))

    await world.delivery.deliver_due()

    assert len(first) == BATCH
    assert sum(world.notifications.told.values()) == 3
