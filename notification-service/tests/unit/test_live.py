import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from notification_service.domain.inbox import START, Event, Notification, Owner, Place
from notification_service.domain.live import AT_ONCE, Listeners, follow
from notification_service.domain.rebuild import Rebuild
from notification_service.testing import InMemoryInboxes, InMemoryMarker
from shared.errors import CapabilityUnavailable, Overloaded

ADA = Owner("o", "ada")
SOON = timedelta(milliseconds=20)
LONG = timedelta(seconds=30)


def event(number: int, owner: Owner = ADA) -> Event:
    return Event(f"e{number}", owner, "task.succeeded", f"Task {number}", "", {}, datetime.now(UTC))


async def next_of(stream: AsyncIterator[Notification | None]) -> Notification | None:
    return await asyncio.wait_for(anext(stream), 5)


async def test_a_stream_gives_what_was_there_and_then_what_comes() -> None:
    listeners = Listeners(10)
    inboxes = InMemoryInboxes(listeners)
    await inboxes.deliver(event(1))

    async with aclosing(follow(inboxes, listeners, ADA, START, LONG)) as stream:
        first = await next_of(stream)
        coming = asyncio.create_task(next_of(stream))
        await asyncio.sleep(0)
        await inboxes.deliver(event(2))
        second = await coming

    assert [first and first.title, second and second.title] == ["Task 1", "Task 2"]


async def test_silence_is_a_heartbeat() -> None:
    listeners = Listeners(10)
    async with aclosing(follow(InMemoryInboxes(listeners), listeners, ADA, START, SOON)) as stream:
        assert await next_of(stream) is None


async def test_closing_ends_every_stream() -> None:
    listeners = Listeners(10)
    stream = follow(InMemoryInboxes(listeners), listeners, ADA, START, LONG)
    coming = asyncio.create_task(next_of(stream))
    await asyncio.sleep(0)

    listeners.close()

    with pytest.raises(StopAsyncIteration):
        await coming


async def test_there_is_room_for_so_many_streams_and_no_more() -> None:
    listeners = Listeners(1)
    with listeners.listening(ADA), pytest.raises(Overloaded), listeners.listening(ADA):
        pass

    with listeners.listening(ADA):
        pass


class Outbox:
    def __init__(self, *events: Event, away: bool = False) -> None:
        self._events, self._away = events, away

    async def events(self) -> AsyncIterator[Event]:
        if self._away:
            raise CapabilityUnavailable(capability="tasks")
        for kept in self._events:
            yield kept


async def test_an_emptied_inbox_is_filled_once_and_nothing_is_doubled() -> None:
    inboxes = InMemoryInboxes(Listeners(1))
    await inboxes.deliver(event(2))
    rebuild = Rebuild(InMemoryMarker(), Outbox(event(1), event(2), event(3)), inboxes)

    assert [await rebuild.run_if_emptied(), await rebuild.run_if_emptied()] == [2, 0]
    assert (await inboxes.page(ADA, None, 10, unread=False)).unread == 3


async def test_a_rebuild_that_cannot_reach_the_sender_is_not_called_done() -> None:
    marker = InMemoryMarker()

    with pytest.raises(CapabilityUnavailable):
        await Rebuild(marker, Outbox(away=True), InMemoryInboxes(Listeners(1))).run_if_emptied()

    assert not await marker.is_filled()
    assert await marker.claim()


async def test_while_another_replica_fills_this_one_does_not() -> None:
    marker, inboxes = InMemoryMarker(), InMemoryInboxes(Listeners(1))
    await marker.claim()

    assert await Rebuild(marker, Outbox(event(1)), inboxes).run_if_emptied() == 0

    assert (await inboxes.page(ADA, None, 10, unread=False)).unread == 0
    assert not await marker.is_filled()


async def test_a_rebuild_that_failed_is_made_up_for_later() -> None:
    marker, inboxes = InMemoryMarker(), InMemoryInboxes(Listeners(1))
    with pytest.raises(CapabilityUnavailable):
        await Rebuild(marker, Outbox(away=True), inboxes).run_if_emptied()

    assert await Rebuild(marker, Outbox(event(1), event(2)), inboxes).run_if_emptied() == 2


async def test_inboxes_that_are_complete_are_not_touched() -> None:
    marker, inboxes = InMemoryMarker(), InMemoryInboxes(Listeners(1))
    await marker.set_filled()

    assert await Rebuild(marker, Outbox(event(1)), inboxes).run_if_emptied() == 0
    assert await inboxes.latest(ADA) == START


async def test_a_rebuild_wakes_who_listens() -> None:
    listeners = Listeners(1)
    inboxes = InMemoryInboxes(listeners)
    with listeners.listening(ADA) as wake:
        await Rebuild(InMemoryMarker(), Outbox(event(1)), inboxes).run_if_emptied()

        assert wake.is_set()


async def test_a_stream_goes_on_from_its_place() -> None:
    listeners = Listeners(1)
    inboxes = InMemoryInboxes(listeners)
    places = [(await inboxes.deliver(event(number))).place for number in range(4)]

    async with aclosing(follow(inboxes, listeners, ADA, places[1], LONG)) as stream:
        titles = [found and found.title for found in (await next_of(stream), await next_of(stream))]

    assert titles == ["Task 2", "Task 3"]


async def test_more_than_is_read_at_once_comes_without_a_wake_up() -> None:
    listeners = Listeners(1)
    inboxes = InMemoryInboxes(listeners)
    for number in range(2 * AT_ONCE + 1):
        await inboxes.deliver(event(number))

    async with aclosing(follow(inboxes, listeners, ADA, START, LONG)) as stream:
        titles = [found.title async for found, _ in _first(stream, 2 * AT_ONCE + 1)]

    assert titles == [f"Task {number}" for number in range(2 * AT_ONCE + 1)]


async def _first(stream: AsyncIterator[Notification | None], count: int) -> AsyncIterator[tuple[Notification, int]]:
    for number in range(count):
        found = await next_of(stream)
        assert found is not None
        yield found, number


async def test_a_wake_up_for_somebody_else_is_no_news() -> None:
    listeners = Listeners(2)
    inboxes = InMemoryInboxes(listeners)
    bob = Owner("o", "bob")

    async with aclosing(follow(inboxes, listeners, ADA, START, SOON)) as stream:
        await inboxes.deliver(event(1, bob))
        assert await next_of(stream) is None


class Flickering(InMemoryInboxes):
    """Inboxes that are away when they are asked for the first time."""

    is_away = True

    async def after(self, owner: Owner, place: Place, limit: int) -> Sequence[Notification]:
        if self.is_away:
            self.is_away = False
            raise CapabilityUnavailable(capability="notifications")
        return await super().after(owner, place, limit)


async def test_a_stream_outlives_inboxes_that_are_away() -> None:
    listeners = Listeners(1)
    inboxes = Flickering(listeners)
    await inboxes.deliver(event(1))

    async with aclosing(follow(inboxes, listeners, ADA, START, SOON)) as stream:
        during, after = await next_of(stream), await next_of(stream)

    assert during is None
    assert after is not None
    assert after.title == "Task 1"


async def test_a_stream_that_ended_leaves_its_room_to_others() -> None:
    listeners = Listeners(1)
    for _ in range(3):
        async with aclosing(follow(InMemoryInboxes(listeners), listeners, ADA, START, SOON)) as stream:
            assert await next_of(stream) is None


def test_waking_reaches_every_stream_of_a_person_and_nobody_else() -> None:
    listeners = Listeners(3)
    with (
        listeners.listening(ADA) as one,
        listeners.listening(ADA) as two,
        listeners.listening(Owner("o", "bob")) as other,
    ):
        listeners.wake(ADA)
        assert [one.is_set(), two.is_set(), other.is_set()] == [True, True, False]
        listeners.wake_all()
        assert other.is_set()
    listeners.wake(ADA)
