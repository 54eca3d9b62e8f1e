"""The threads that hash passwords."""

import asyncio
import os
import threading
import time

import pytest

from auth_service.domain.hashing import LOWEST, NICENESS, HashingPool
from shared.errors import Overloaded


async def test_more_than_may_wait_are_refused_at_once() -> None:
    pool = HashingPool(threads=1, queue=2)
    gate = threading.Event()
    waiting = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded) as refusal:
        await pool.run(gate.wait)
    gate.set()

    assert refusal.value.retry_after == 1
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert await pool.run(lambda: "again") == "again"
    pool.close()


async def test_who_went_away_while_waiting_costs_nothing() -> None:
    pool = HashingPool(threads=1, queue=2)
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
    pool.close()


async def test_hashing_gives_way_to_everything_else() -> None:
    pool = HashingPool(threads=1, queue=1)

    niceness = await pool.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    assert niceness == min(LOWEST, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    pool.close()


async def test_the_loop_goes_on_while_passwords_are_hashed() -> None:
    pool = HashingPool(threads=1, queue=4)
    work = asyncio.ensure_future(pool.run(lambda: time.sleep(0.2)))
    began = time.perf_counter()

    await asyncio.sleep(0.01)

    assert time.perf_counter() - began < 0.15
    await work
    pool.close()
