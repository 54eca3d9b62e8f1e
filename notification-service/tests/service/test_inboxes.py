"""The promises of an inbox, kept by Redis and by the twin alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from notification_service.domain.inbox import START, Event, Inboxes, Owner, Place
from notification_service.domain.live import Listeners
from notification_service.domain.rebuild import Marker
from notification_service.store.inboxes import FILLED, FILLING, RedisInboxes, RedisMarker
from notification_service.testing import InMemoryInboxes, InMemoryMarker
from shared.redis import RedisStore

SIZE = 12


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.engines)])
async def inboxes(request: pytest.FixtureRequest) -> AsyncIterator[Inboxes]:
    if request.param == "memory":
        yield InMemoryInboxes(Listeners(10), size=SIZE)
        return
    url = request.getfixturevalue("redis_data_url")
    redis = RedisStore(url, capability="notifications", timeout=timedelta(seconds=5))  # a busy machine is no outage
    yield RedisInboxes(redis, size=SIZE, kept=timedelta(days=30))
    await redis.close()


@pytest.fixture
def ada() -> Owner:
    return Owner(str(uuid4()), str(uuid4()))


def event(owner: Owner, number: int = 0) -> Event:
    when = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number)
    return Event(f"event-{number}", owner, "task.succeeded", f"Task {number}", "Done.", {"task_id": str(number)}, when)


async def test_an_event_is_in_the_inbox_and_unread(inboxes: Inboxes, ada: Owner) -> None:
    delivered = await inboxes.deliver(event(ada))

    page = await inboxes.page(ada, None, 10, unread=False)

    assert not delivered.duplicate
    assert page.unread == 1
    (notification,) = page.notifications
    assert notification.place == delivered.place
    assert (notification.title, notification.data, notification.read) == ("Task 0", {"task_id": "0"}, False)
    assert notification.created_at == event(ada).occurred_at


async def test_an_event_is_delivered_once_whatever_is_retried(inboxes: Inboxes, ada: Owner) -> None:
    several = await asyncio.gather(*(inboxes.deliver(event(ada)) for _ in range(20)))

    assert sum(not delivered.duplicate for delivered in several) == 1
    assert len({delivered.place for delivered in several}) == 1
    assert (await inboxes.page(ada, None, 10, unread=False)).unread == 1


async def test_two_people_may_hear_of_the_same_event(inboxes: Inboxes, ada: Owner) -> None:
    bob = replace(ada, user_id=str(uuid4()))

    assert not (await inboxes.deliver(event(ada))).duplicate
    assert not (await inboxes.deliver(event(bob))).duplicate


async def test_pages_go_back_in_time_and_end(inboxes: Inboxes, ada: Owner) -> None:
    for number in range(5):
        await inboxes.deliver(event(ada, number))

    first = await inboxes.page(ada, None, 3, unread=False)
    second = await inboxes.page(ada, first.notifications[-1].place, 3, unread=False)

    assert [n.title for n in first.notifications] == ["Task 4", "Task 3", "Task 2"]
    assert [n.title for n in second.notifications] == ["Task 1", "Task 0"]
    assert (first.older, second.older) == (True, False)


async def test_a_read_notification_is_read_and_stays_in_the_inbox(inboxes: Inboxes, ada: Owner) -> None:
    places = [(await inboxes.deliver(event(ada, number))).place for number in range(3)]

    assert await inboxes.mark_read(ada, places[1])

    page = await inboxes.page(ada, None, 10, unread=False)
    assert [n.read for n in page.notifications] == [False, True, False]
    assert page.unread == 2
    unread = await inboxes.page(ada, None, 10, unread=True)
    assert [n.title for n in unread.notifications] == ["Task 2", "Task 0"]


async def test_unread_ones_are_paged_too(inboxes: Inboxes, ada: Owner) -> None:
    for number in range(5):
        await inboxes.deliver(event(ada, number))

    first = await inboxes.page(ada, None, 2, unread=True)
    second = await inboxes.page(ada, first.notifications[-1].place, 9, unread=True)

    assert [n.title for n in (*first.notifications, *second.notifications)] == [f"Task {n}" for n in (4, 3, 2, 1, 0)]


async def test_what_is_not_there_cannot_be_read(inboxes: Inboxes, ada: Owner) -> None:
    bob = replace(ada, user_id=str(uuid4()))
    theirs = await inboxes.deliver(event(bob))

    assert not await inboxes.mark_read(ada, theirs.place)
    assert not await inboxes.mark_read(ada, Place(1, 1))


async def test_all_can_be_read_at_once(inboxes: Inboxes, ada: Owner) -> None:
    for number in range(3):
        await inboxes.deliver(event(ada, number))

    await inboxes.mark_all_read(ada)

    page = await inboxes.page(ada, None, 10, unread=False)
    assert (page.unread, [n.read for n in page.notifications]) == (0, [True] * 3)


async def test_a_reader_goes_on_behind_its_place(inboxes: Inboxes, ada: Owner) -> None:
    places = [(await inboxes.deliver(event(ada, number))).place for number in range(4)]

    assert [n.title for n in await inboxes.after(ada, places[1], 10)] == ["Task 2", "Task 3"]
    assert len(await inboxes.after(ada, START, 10)) == 4
    assert await inboxes.latest(ada) == places[-1]


async def test_an_inbox_keeps_the_newest(inboxes: Inboxes, ada: Owner) -> None:
    for number in range(SIZE + 5):
        await inboxes.deliver(event(ada, number))

    page = await inboxes.page(ada, None, 100, unread=False)

    assert len(page.notifications) == SIZE
    assert page.notifications[0].title == f"Task {SIZE + 4}"
    assert page.unread == SIZE


async def test_rebuilt_events_keep_their_order_before_newer_ones(inboxes: Inboxes, ada: Owner) -> None:
    for number in (1, 2, 3):
        await inboxes.deliver(event(ada, number), rebuilt=True)
    await inboxes.deliver(event(ada, 4))

    page = await inboxes.page(ada, None, 10, unread=False)

    assert [n.title for n in page.notifications] == ["Task 4", "Task 3", "Task 2", "Task 1"]


async def test_an_old_event_behind_a_new_one_is_not_lost(inboxes: Inboxes, ada: Owner) -> None:
    await inboxes.deliver(event(ada, 4))

    assert not (await inboxes.deliver(event(ada, 1), rebuilt=True)).duplicate

    assert len((await inboxes.page(ada, None, 10, unread=False)).notifications) == 2


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.engines)])
async def markers(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Marker, Marker]]:
    """The marker as two replicas see it, of inboxes that are empty."""
    if request.param == "memory":
        marker = InMemoryMarker()
        yield marker, marker
        return
    redis = RedisStore(
        request.getfixturevalue("redis_data_url"), capability="notifications", timeout=timedelta(seconds=5)
    )
    await redis.run(lambda client: client.delete(FILLED, FILLING))
    yield RedisMarker(redis), RedisMarker(redis)
    await redis.run(lambda client: client.delete(FILLED, FILLING))
    await redis.close()


async def test_one_replica_at_a_time_may_fill(markers: tuple[Marker, Marker]) -> None:
    one, other = markers

    assert [await one.claim(), await other.claim()] == [True, False]
    await one.release()
    assert await other.claim()


async def test_filled_inboxes_are_known_as_such_by_all(markers: tuple[Marker, Marker]) -> None:
    one, other = markers
    assert not await other.is_filled()

    await one.claim()
    await one.set_filled()

    assert await other.is_filled()
    assert await other.claim()


async def test_a_released_claim_fills_nothing(markers: tuple[Marker, Marker]) -> None:
    one, other = markers
    await one.claim()
    await one.release()

    assert not await other.is_filled()
