"""The threads that hash passwords."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest

from auth_service.domain.hashing import LOWEST, NICENESS, HashingPool
from shared.errors import Overloaded


@pytest.fixture
def pool() -> Iterator[HashingPool]:
    """One thread; the first cost of 60 ms lets three wait."""
    made = HashingPool(threads=1, patience=timedelta(milliseconds=200))
    yield made
    made.close()


async def test_who_would_wait_too_long_is_refused_at_once(pool: HashingPool) -> None:
    gate = threading.Event()
    waiting = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(4)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded) as refusal:
        await pool.run(gate.wait)
    gate.set()

    assert refusal.value.retry_after == 1
    assert await asyncio.gather(*waiting) == [True] * 4
    assert await pool.run(lambda: "again") == "again"


async def test_somebody_known_comes_before_strangers_and_sends_the_last_of_them_away(pool: HashingPool) -> None:
    gate = threading.Event()
    order: list[str] = []
    first = asyncio.ensure_future(pool.run(gate.wait))
    strangers = [asyncio.ensure_future(pool.run(partial(order.append, name))) for name in ("s1", "s2", "s3")]
    await asyncio.sleep(0)

    known = asyncio.ensure_future(pool.run(partial(order.append, "known"), is_known=True))
    with pytest.raises(Overloaded):
        await strangers.pop()
    gate.set()
    await asyncio.gather(first, known, *strangers)

    assert order == ["known", "s1", "s2"]


async def test_nobody_waits_for_ever_when_the_machine_has_become_slow() -> None:
    pool = HashingPool(threads=1, patience=timedelta(milliseconds=61))
    gate = threading.Event()
    first = asyncio.ensure_future(pool.run(gate.wait))
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await asyncio.wait_for(pool.run(lambda: None), 5)

    gate.set()
    assert await first
    assert await pool.run(lambda: "again") == "again"
    pool.close()


async def test_a_caller_that_goes_away_while_it_is_served_keeps_its_thread_until_the_end(pool: HashingPool) -> None:
    gate, running, most = threading.Event(), [0], [0]

    def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        gate.wait(5)
        running[0] -= 1

    first = asyncio.ensure_future(pool.run(work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.ensure_future(pool.run(work))
    await asyncio.sleep(0.02)
    gate.set()
    await second

    assert most == [1]


async def test_work_that_fails_gives_its_thread_back(pool: HashingPool) -> None:
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)

    assert await pool.run(lambda: "again") == "again"


async def test_who_went_away_while_waiting_costs_nothing(pool: HashingPool) -> None:
    gate = threading.Event()
    first = asyncio.ensure_future(pool.run(gate.wait))
    begun: list[str] = []
    second = asyncio.ensure_future(pool.run(lambda: begun.append("second")))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    gate.set()
    await first
    await pool.run(lambda: None)

    assert begun == []


async def test_hashing_gives_way_to_everything_else(pool: HashingPool) -> None:
    niceness = await pool.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    assert niceness == min(LOWEST, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


async def test_the_loop_goes_on_while_passwords_are_hashed(pool: HashingPool) -> None:
    work = asyncio.ensure_future(pool.run(lambda: time.sleep(0.2)))
    began = time.perf_counter()

    await asyncio.sleep(0.01)

    assert time.perf_counter() - began < 0.15
    await work
