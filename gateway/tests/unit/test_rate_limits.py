"""Token buckets that lease their refill, on a clock that only moves when told.

The rule is played with random traffic; the machinery beside it is tried with shared buckets that fail and hang.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.rate_limits import PLANS, HeldTokens, Lease, Limit, Settlement, Verdict
from gateway.domain.throttle import RateLimits
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


async def test_shared_buckets_that_hang_cost_nobody_more_than_a_moment(clock: Clock) -> None:
    class Hanging:
        async def settle(self, _settlements: Sequence[Settlement]) -> Sequence[Lease]:
            return await asyncio.get_running_loop().create_future()

    limits = RateLimits(Hanging(), clock)
    async with settling(limits), asyncio.timeout(2):
        verdicts = await asyncio.gather(*(limits.admit("ada", FREE) for _ in range(10)))

    assert all(verdict.allowed for verdict in verdicts)


async def test_a_failure_nobody_expected_is_reported_and_refuses_nobody(clock: Clock) -> None:
    class Surprise(Exception):
        pass

    class Broken:
        async def settle(self, _settlements: Sequence[Settlement]) -> Sequence[Lease]:
            raise Surprise

    limits = RateLimits(Broken(), clock)
    await limits.admit("ada", FREE)
    with pytest.raises(Surprise):
        await limits.settle()

    assert (await limits.admit("ada", FREE)).allowed


async def test_the_loss_and_the_return_of_the_shared_buckets_are_said_once(
    clock: Clock, shared: InMemoryBuckets
) -> None:
    limits = RateLimits(shared, clock)
    with structlog.testing.capture_logs() as logged:
        for away in (True, True, False, False):
            shared.away = away
            await limits.admit("ada", FREE)
            await limits.settle()

    assert [line["event"] for line in logged] == ["rate_limits_alone", "rate_limits_shared"]


# --- the rule, played with random traffic

Ask = tuple[float, int]
asks = st.lists(st.tuples(st.floats(0, 2), st.integers(0, 30)), max_size=40)


class Gateways:
    """Some gateways that share buckets in memory and settle after every step."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.shared = InMemoryBuckets(self.clock)
        self.held = [HeldTokens() for _ in range(count)]

    def settle(self) -> None:
        for each in self.held:
            settlements = each.settlements(self.clock.now)
            each.settled(settlements, self.shared.settle_now(settlements), self.clock.now)

    def ask(self, each: HeldTokens, limit: Limit) -> bool:
        verdict = each.take("ada", limit, self.clock.now)
        if verdict is None:
            each.wait("ada", limit, self.clock.now)
            return False
        assert verdict.remaining >= 0
        assert verdict.allowed or verdict.retry_after >= 1
        return verdict.allowed


@given(asks, st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_whatever_is_asked_no_more_is_let_in_than_the_limit_and_one_advance_each(asks: list[Ask], count: int) -> None:
    gateways, began, let_in = Gateways(count), 1000.0, 0
    for passed, wanted in asks:
        gateways.clock.now += passed
        let_in += sum(gateways.ask(each, FREE) for each in gateways.held for _ in range(wanted))
        gateways.settle()

    seconds = gateways.clock.now - began
    assert let_in <= FREE.burst + FREE.rate * seconds + count * (FREE.burst // 4)


@given(asks)
@settings(max_examples=100, deadline=None)
def test_whatever_was_asked_before_who_waits_as_told_is_let_in(asks: list[Ask]) -> None:
    gateways = Gateways(1)
    (held,) = gateways.held
    for passed, wanted in asks:
        gateways.clock.now += passed
        for _ in range(wanted):
            gateways.ask(held, FREE)
        gateways.settle()
    verdict = held.take("ada", FREE, gateways.clock.now)
    if verdict is not None and not verdict.allowed:
        gateways.clock.now += verdict.retry_after

        assert gateways.ask(held, FREE) or (gateways.settle(), gateways.ask(held, FREE))[1]


@given(asks, st.floats(0.5, 50), st.integers(2, 100))
@settings(max_examples=100, deadline=None)
def test_whatever_is_asked_a_gateway_alone_lets_in_half(asks: list[Ask], rate: float, burst: int) -> None:
    limit, held, clock, let_in = Limit(rate, burst), HeldTokens(), Clock(), 0
    held.lost()
    for passed, wanted in asks:
        clock.now += passed
        verdicts = [held.take("ada", limit, clock.now) for _ in range(wanted)]
        let_in += sum(verdict.allowed for verdict in verdicts if verdict)
        assert None not in verdicts

    assert let_in <= burst / 2 + rate / 2 * (clock.now - 1000.0) + 1e-6


@given(asks)
@settings(max_examples=50, deadline=None)
def test_whatever_was_asked_what_is_held_in_the_end_goes_back(asks: list[Ask]) -> None:
    gateways = Gateways(2)
    limit = Limit(rate=1e-9, burst=100)
    let_in = 0
    for passed, wanted in asks:
        gateways.clock.now += passed
        let_in += sum(gateways.ask(each, limit) for each in gateways.held for _ in range(wanted))
        gateways.settle()
    for _ in range(2):
        gateways.clock.now += 2
        gateways.settle()

    (lease,) = gateways.shared.settle_now([Settlement("ada", limit, 0, 0, 0)])
    assert lease.left == pytest.approx(100 - let_in, abs=0.01)


@pytest.mark.parametrize("alone", [False, True])
def test_when_too_many_are_known_the_one_known_longest_is_forgotten(alone: bool) -> None:
    held, slow = HeldTokens(most_keys=3), Limit(rate=0.001, burst=8)
    if alone:
        held.lost()
    for name in ("a", "b", "c"):
        while (verdict := held.take(name, slow, 0.0)) and verdict.allowed:
            pass
    held.take("d", slow, 0.0)

    spent, fresh = held.take("c", slow, 0.0), held.take("a", slow, 0.0)
    assert spent is None or not spent.allowed
    assert fresh is not None
    assert fresh.allowed


def test_a_plan_that_changes_counts_at_once() -> None:
    held = HeldTokens()
    held.lost()
    for _ in range(10):
        held.take("ada", FREE, 0.0)

    refused, later = held.take("ada", FREE, 0.0), held.take("ada", PLANS["enterprise"], 0.1)
    assert refused is not None
    assert not refused.allowed
    assert later is not None
    assert later.allowed


def test_the_policy_says_the_burst_and_its_refill() -> None:
    assert FREE.policy == b'"default";q=20;w=4'
