"""A server that answers, but with errors: full or read-only. It counts as away, heals by itself and is seen."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from local_stack.engines.running import EngineSet
from shared.errors import CapabilityUnavailable
from shared.redis import RedisStore
from shared.testing import eventually

pytestmark = pytest.mark.engines

Change = Callable[[Redis], object]

WAYS: dict[str, tuple[Change, Change]] = {
    "full": (
        lambda server: server.config_set("maxmemory", 1),
        lambda server: server.config_set("maxmemory", 0),
    ),
    "read-only": (
        lambda server: server.config_set("min-replicas-to-write", 1),
        lambda server: server.config_set("min-replicas-to-write", 0),
    ),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EngineSet(tmp_path_factory.mktemp("own"), ("redis-data",)) as addresses:
        assert addresses.redis_data is not None
        yield addresses.redis_data


@pytest.fixture(params=list(WAYS))
def change(request: pytest.FixtureRequest, url: str) -> Iterator[tuple[Change, Change]]:
    way = WAYS[request.param]
    yield way
    with Redis.from_url(url) as server:
        way[1](server)


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    made = RedisStore(url, capability="notifications")
    await made.start()
    yield made
    await made.close()


def changed(url: str, change: Change) -> None:
    with Redis.from_url(url) as server:
        change(server)


async def test_it_counts_as_away_for_reads_too_and_is_healed_by_itself(
    url: str, store: RedisStore, change: tuple[Change, Change]
) -> None:
    breaks, heals = change
    await store.run(lambda redis: redis.set("key", b"value"))

    await asyncio.to_thread(changed, url, breaks)
    with pytest.raises(CapabilityUnavailable) as refused:
        await store.run(lambda redis: redis.set("key", b"other"))
    assert refused.value.extra["capability"] == "notifications"
    assert store.status == "unavailable"
    with pytest.raises(CapabilityUnavailable):
        await store.run(lambda redis: redis.get("key"))

    await asyncio.to_thread(changed, url, heals)
    await eventually(lambda: store.status == "ok", 3)
    assert await store.run(lambda redis: redis.get("key")) == b"value"


async def test_it_is_noticed_without_traffic_and_stays_away_while_it_lasts(
    url: str, store: RedisStore, change: tuple[Change, Change]
) -> None:
    await asyncio.to_thread(changed, url, change[0])

    await eventually(lambda: store.status == "unavailable", 3)
    with pytest.raises(AssertionError):
        await eventually(lambda: store.status == "ok", 2.5)


async def test_pipelines_and_scripts_are_refused_the_same_way(
    url: str, store: RedisStore, change: tuple[Change, Change]
) -> None:
    await asyncio.to_thread(changed, url, change[0])

    with pytest.raises(CapabilityUnavailable):
        await store.run(lambda redis: redis.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key"))
    fresh = RedisStore(url, capability="notifications")
    try:
        with pytest.raises(CapabilityUnavailable):
            await fresh.run(lambda redis: redis.pipeline().set("a", b"1").set("b", b"2").execute())
    finally:
        await fresh.close()


async def test_a_mistake_of_ours_is_raised_and_costs_nobody_else_anything(store: RedisStore) -> None:
    await store.run(lambda redis: redis.set("text", b"x"))

    with pytest.raises(ResponseError):
        await store.run(lambda redis: redis.incr("text"))
    assert store.status == "ok"
