"""The same promises from the buckets in memory and from those in a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from gateway.domain.rate_limits import Limit, Settlement
from gateway.domain.throttle import RateLimits, SharedBuckets
from gateway.store.buckets import RedisBuckets
from gateway.testing import InMemoryBuckets
from local_stack.engines.running import EngineSet
from shared.background import Background
from shared.errors import CapabilityUnavailable
from shared.ids import new_id
from shared.redis import RedisStore
from shared.testing import eventually

SLOW = Limit(rate=0.001, burst=10)
FAST = Limit(rate=1000, burst=10)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.engines)])
async def buckets(request: pytest.FixtureRequest) -> AsyncIterator[SharedBuckets]:
    if request.param == "memory":
        yield InMemoryBuckets()
        return
    store = RedisStore(request.getfixturevalue("redis_data_url"), capability="notifications")
    yield RedisBuckets(store)
    await store.close()


@pytest.fixture
def key() -> str:
    return str(new_id())


async def test_no_more_is_granted_than_there_is(buckets: SharedBuckets, key: str) -> None:
    want_6 = Settlement(key, SLOW, spent=0, returned=0, wants=6)

    granted = [lease.granted for lease in await buckets.settle([want_6, want_6, want_6])]

    assert granted == [6, 4, 0]


async def test_what_was_spent_in_advance_is_owed(buckets: SharedBuckets, key: str) -> None:
    (overdrawn,) = await buckets.settle([Settlement(key, SLOW, spent=12, returned=0, wants=1)])

    assert overdrawn.granted == 0
    assert overdrawn.left == pytest.approx(-2, abs=0.01)


async def test_what_is_returned_can_be_granted_again_but_never_above_the_burst(
    buckets: SharedBuckets, key: str
) -> None:
    await buckets.settle([Settlement(key, SLOW, spent=0, returned=0, wants=10)])
    await buckets.settle([Settlement(key, SLOW, spent=0, returned=3, wants=0)])
    (lease,) = await buckets.settle([Settlement(key, SLOW, spent=0, returned=99, wants=99)])

    assert lease.granted == 10


async def test_a_bucket_refills_with_time(buckets: SharedBuckets, key: str) -> None:
    await buckets.settle([Settlement(key, FAST, spent=0, returned=0, wants=10)])
    await asyncio.sleep(0.05)
    (lease,) = await buckets.settle([Settlement(key, FAST, spent=0, returned=0, wants=99)])

    assert lease.granted == 10


@pytest.mark.engines
async def test_absent_buckets_are_said_to_be_absent() -> None:
    store = RedisStore("redis://127.0.0.1:1/0", capability="notifications")

    with pytest.raises(CapabilityUnavailable):
        await RedisBuckets(store).settle([Settlement("x", SLOW, spent=0, returned=0, wants=1)])
    await store.close()


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-data of this module's own, to be filled up."""
    with EngineSet(tmp_path_factory.mktemp("own"), ("redis-data",)) as addresses:
        assert addresses.redis_data is not None
        yield addresses.redis_data


@pytest.mark.engines
async def test_a_full_redis_data_halves_the_rate_and_refuses_nobody_below_it(own_url: str, key: str) -> None:
    store = RedisStore(own_url, capability="notifications")
    await store.start()
    limits = RateLimits(RedisBuckets(store))
    limit = Limit(rate=200, burst=40)
    async with Background() as background:
        background.keep(limits.run)
        assert (await limits.admit(key, limit)).allowed
        with Redis.from_url(own_url) as server:
            server.config_set("maxmemory", 1)
        await eventually(lambda: not limits.is_shared)
        full = [await _paced(limits, key, limit) for _ in range(60)]
        with Redis.from_url(own_url) as server:
            server.config_set("maxmemory", 0)
        await eventually(lambda: limits.is_shared, within=20)
        healed = [await _paced(limits, key, limit) for _ in range(20)]
    await store.close()

    assert all(full)
    assert all(healed)


async def _paced(limits: RateLimits, key: str, limit: Limit) -> bool:
    """One request, at most as many a second as half the rate allows."""
    await asyncio.sleep(0.015)
    return (await limits.admit(key, limit)).allowed
