import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from notification_service.domain.inbox import START, Event, Notification, Owner
from notification_service.domain.live import Listeners, follow
from notification_service.domain.rebuild import Rebuild
from notification_service.testing import InMemoryInboxes
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


class Marker:
    filled = claimed = False

    async def is_filled(self) -> bool:
        return self.filled

    async def claim(self) -> bool:
        before, self.claimed = self.claimed, True
        return not before

    async def release(self) -> None:
        self.claimed = False

    async def set_filled(self) -> None:
        self.filled, self.claimed = True, False


async def test_an_emptied_inbox_is_filled_once_and_nothing_is_doubled() -> None:
    inboxes = InMemoryInboxes(Listeners(1))
    await inboxes.deliver(event(2))
    rebuild = Rebuild(Marker(), Outbox(event(1), event(2), event(3)), inboxes)

    assert [await rebuild.run_if_emptied(), await rebuild.run_if_emptied()] == [2, 0]
    assert (await inboxes.page(ADA, None, 10, unread=False)).unread == 3


async def test_a_rebuild_that_cannot_reach_the_sender_is_not_called_done() -> None:
    marker = Marker()

    with pytest.raises(CapabilityUnavailable):
        await Rebuild(marker, Outbox(away=True), InMemoryInboxes(Listeners(1))).run_if_emptied()

    assert not marker.filled
    assert not marker.claimed
