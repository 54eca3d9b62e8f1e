"""The entrance on a real event loop: who waits is woken, refused in time, or forgotten."""

import asyncio
import time

import pytest

from gateway.domain.admission import MAX_WAIT, SHARES, ConcurrencyLimit, Pool
from gateway.routes.entrance import Entrance
from shared.errors import Overloaded


def entrance(limit: float = 1) -> tuple[Entrance, Pool]:
    pool = Pool(ConcurrencyLimit(initial=limit, smallest=limit, largest=limit), SHARES["login"])
    return Entrance({"login": pool}), pool


async def test_who_waits_is_called_when_a_place_is_free() -> None:
    door, pool = entrance()
    first = await door.enter("login", "a")
    waiting = asyncio.create_task(door.enter("login", "b"))
    await asyncio.sleep(0)

    door.leave(first)

    assert (await waiting).state == "admitted"
    assert pool.in_flight == 1


async def test_who_waits_in_vain_is_refused_after_50_ms_and_told_when_to_come_back() -> None:
    door, _ = entrance()
    await door.enter("login", "a")
    began = time.perf_counter()

    with pytest.raises(Overloaded) as refused:
        await door.enter("login", "b")

    assert MAX_WAIT * 0.9 < time.perf_counter() - began < MAX_WAIT * 4
    assert refused.value.retry_after == 1


async def test_each_of_many_who_wait_is_refused_in_its_own_time() -> None:
    door, pool = entrance()
    await door.enter("login", "a")
    first = asyncio.create_task(door.enter("login", "b"))
    await asyncio.sleep(MAX_WAIT / 2)
    second = asyncio.create_task(door.enter("login", "c"))

    await asyncio.wait({first}, timeout=1)
    second_is_early = second.done()
    await asyncio.wait({second}, timeout=1)

    assert isinstance(first.exception(), Overloaded)
    assert isinstance(second.exception(), Overloaded)
    assert not second_is_early
    assert pool.next_expiry() is None


async def test_a_wait_that_is_cancelled_leaves_no_trace() -> None:
    door, pool = entrance()
    first = await door.enter("login", "a")
    waiting = asyncio.create_task(door.enter("login", "b"))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait({waiting})
    door.leave(first)

    assert pool.in_flight == 0
    assert pool.next_expiry() is None


async def test_a_wait_that_is_cancelled_in_its_turn_gives_the_place_on() -> None:
    door, pool = entrance()
    first = await door.enter("login", "a")
    waiting = asyncio.create_task(door.enter("login", "b"))
    await asyncio.sleep(0)

    door.leave(first)
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    assert pool.in_flight == 0
