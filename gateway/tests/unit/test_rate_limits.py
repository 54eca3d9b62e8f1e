"""Token buckets that lease their refill, on a clock that only moves when told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from gateway.domain.rate_limits import PLANS, Limit, RateLimits, Verdict
from gateway.testing import InMemoryBuckets

FREE = PLANS["free"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shared(clock: Clock) -> InMemoryBuckets:
    return InMemoryBuckets(clock)


@asynccontextmanager
async def settling(*gateways: RateLimits) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(gateway.run()) for gateway in gateways]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def allowed(asks: list[Awaitable[Verdict]]) -> int:
    return sum(verdict.allowed for verdict in await asyncio.gather(*asks))


async def test_a_burst_is_let_in_and_no_more(clock: Clock, shared: InMemoryBuckets) -> None:
    limits = RateLimits(shared, clock)
    async with settling(limits):
        assert await allowed([limits.admit("ada", FREE) for _ in range(60)]) == 20


async def test_the_rate_holds_over_time(clock: Clock, shared: InMemoryBuckets) -> None:
    limits = RateLimits(shared, clock)
    async with settling(limits):
        total = 0
        for _ in range(100):
            clock.now += 0.1
            total += await allowed([limits.admit("ada", FREE) for _ in range(3)])

    assert 20 + 48 <= total <= 20 + 52


async def test_the_limit_holds_across_gateways(clock: Clock, shared: InMemoryBuckets) -> None:
    one, other = RateLimits(shared, clock), RateLimits(shared, clock)
    async with settling(one, other):
        total = 0
        for _ in range(100):
            clock.now += 0.1
            total += await allowed([gateway.admit("ada", FREE) for gateway in (one, other) for _ in range(3)])

    assert 20 + 45 <= total <= 20 + 55


async def test_people_do_not_share_a_bucket(clock: Clock, shared: InMemoryBuckets) -> None:
    limits = RateLimits(shared, clock)
    async with settling(limits):
        await allowed([limits.admit("ada", FREE) for _ in range(30)])

        assert (await limits.admit("bob", FREE)).allowed


async def test_a_refusal_says_when_to_come_back(clock: Clock, shared: InMemoryBuckets) -> None:
    slow = Limit(rate=0.2, burst=4)
    limits = RateLimits(shared, clock)
    async with settling(limits):
        await allowed([limits.admit("ada", slow) for _ in range(10)])
        refused = await limits.admit("ada", slow)
        clock.now += refused.retry_after
        later = await limits.admit("ada", slow)

    assert not refused.allowed
    assert 1 <= refused.retry_after <= 5
    assert later.allowed


async def test_requests_do_not_each_ask_the_shared_buckets(clock: Clock, shared: InMemoryBuckets) -> None:
    limits = RateLimits(shared, clock)
    async with settling(limits):
        for _ in range(200):
            clock.now += 0.02
            assert (await limits.admit("ada", PLANS["enterprise"])).allowed

    assert shared.round_trips < 10


async def test_somebody_who_asks_once_costs_one_settlement(clock: Clock, shared: InMemoryBuckets) -> None:
    limits = RateLimits(shared, clock)
    await limits.admit("ada", FREE)
    await limits.settle()
    clock.now += 5
    await limits.settle()
    await limits.settle()

    assert shared.round_trips == 1


async def test_idle_tokens_are_given_back(clock: Clock, shared: InMemoryBuckets) -> None:
    one, other = RateLimits(shared, clock), RateLimits(shared, clock)
    slow = Limit(rate=0.001, burst=8)
    async with settling(one, other):
        await allowed([one.admit("ada", slow) for _ in range(3)])
        clock.now += 2
        await one.settle()
        await one.settle()
        assert await allowed([other.admit("ada", slow) for _ in range(10)]) == 5


async def test_without_shared_buckets_the_rate_is_halved_until_they_return(
    clock: Clock, shared: InMemoryBuckets
) -> None:
    limits = RateLimits(shared, clock)
    shared.away = True
    async with settling(limits):
        await limits.admit("ada", FREE)
        await limits.settle()
        clock.now += 60
        alone = await allowed([limits.admit("ada", FREE) for _ in range(60)])
        clock.now += 2
        refilled = await allowed([limits.admit("ada", FREE) for _ in range(60)])
        shared.away = False
        await limits.settle()
        clock.now += 60
        together = await allowed([limits.admit("ada", FREE) for _ in range(60)])

    assert (alone, refilled, together) == (10, 5, 20)


def test_the_policy_says_the_burst_and_its_refill() -> None:
    assert FREE.policy == b'"default";q=20;w=4'
