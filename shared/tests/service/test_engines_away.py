"""Each engine frozen and thawed under our plumbing: refused quickly, healed by itself. Engines of our own are used."""

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from local_stack.engines.running import EngineAddresses, EngineSet
from shared.cql import Cql
from shared.errors import CapabilityUnavailable
from shared.postgres import Postgres
from shared.redis import RedisStore
from shared.settings import CqlSettings, PostgresSettings
from shared.testing import eventually

pytestmark = pytest.mark.engines


class Sql(PostgresSettings):
    postgres_db: str = "postgres"
    postgres_app_user: str = "multidb"


class Scylla(CqlSettings):
    keyspace: str = "system"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineSet, EngineAddresses]]:
    engines = EngineSet(tmp_path_factory.mktemp("own"), ("postgresql", "redis-cache", "cassandra"))
    with engines as addresses:
        yield engines, addresses


Ask = Callable[[], Awaitable[Any]]


@asynccontextmanager
async def postgres(addresses: EngineAddresses) -> AsyncIterator[Ask]:
    where = addresses.postgresql
    assert where is not None
    settings = Sql(
        postgres_host=where.host,
        postgres_port=where.port,
        postgres_app_user=where.user,
        postgres_app_password=SecretStr(where.password),
    )
    store = Postgres(settings, capability="accounts")
    await store.start()

    async def ask() -> Any:
        async with store.transaction("an organization") as connection:
            return await connection.fetchval("SELECT current_setting('app.organization_id')")

    yield ask
    await store.close()


@asynccontextmanager
async def redis(addresses: EngineAddresses) -> AsyncIterator[Ask]:
    assert addresses.redis_cache is not None
    store = RedisStore(addresses.redis_cache, capability="cache")
    await store.start()
    yield lambda: store.run(lambda client: client.echo("hello"))
    await store.close()


@asynccontextmanager
async def cql(addresses: EngineAddresses) -> AsyncIterator[Ask]:
    where = addresses.cql
    assert where is not None
    settings = Scylla(scylla_host=",".join(where.hosts), scylla_port=where.port)
    store = Cql(settings, capability="conversations")
    await store.start()
    yield lambda: store.execute("SELECT key FROM local WHERE key = ?", ("local",))
    await store.close()


def family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


@pytest.mark.parametrize(
    ("connect", "name", "capability", "first_refusal"),
    [
        (postgres, "postgresql", "accounts", 1.5),
        (redis, "redis-cache", "cache", 0.5),
        (cql, "cassandra", "conversations", 1.5),
    ],
)
async def test_a_frozen_engine_is_refused_quickly_and_heals_by_itself(
    own: tuple[EngineSet, EngineAddresses],
    connect: Callable[[EngineAddresses], Any],
    name: str,
    capability: str,
    first_refusal: float,
) -> None:
    engines, addresses = own
    async with connect(addresses) as ask:
        assert await eventually(ask, despite=(CapabilityUnavailable,))
        frozen = family(engines.child(name).pid)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            took = []
            for _ in range(6):
                began = time.monotonic()
                with pytest.raises(CapabilityUnavailable) as refusal:
                    await ask()
                took.append(time.monotonic() - began)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)

        assert refusal.value.capability == capability
        assert max(took) < first_refusal
        assert sum(took) < 3.5, "the breaker opens within two seconds and then refuses at once"
        assert await eventually(ask, despite=(CapabilityUnavailable,))


async def test_a_server_that_takes_no_new_connections_is_away_although_old_ones_still_work(
    own: tuple[EngineSet, EngineAddresses],
) -> None:
    engines, addresses = own
    async with postgres(addresses) as ask:
        assert await eventually(ask, despite=(CapabilityUnavailable,))
        front_door = engines.child("postgresql").pid
        os.kill(front_door, signal.SIGSTOP)
        try:

            async def is_refused() -> bool:
                try:
                    await ask()
                except CapabilityUnavailable:
                    return True
                return False

            assert await eventually(is_refused, 4)
        finally:
            os.kill(front_door, signal.SIGCONT)

        assert await eventually(ask, despite=(CapabilityUnavailable,))
