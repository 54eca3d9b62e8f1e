"""Statements over the driver's connections on our own loop."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from local_stack.engines.temporary import CqlKeyspace
from shared import deadlines
from shared.cql import Cql, make_cluster
from shared.errors import CapabilityUnavailable
from shared.settings import CqlSettings

pytestmark = pytest.mark.engines

PUT = "INSERT INTO blobs (id, value) VALUES (?, ?)"
GET = "SELECT value FROM blobs WHERE id = ?"


class Settings(CqlSettings):
    keyspace: str = ""


async def is_ok(store: Cql) -> bool:
    for _ in range(200):
        if store.status == "ok":
            return True
        await asyncio.sleep(0.05)
    return False


@pytest_asyncio.fixture(scope="module")
async def cql(cql_keyspace: CqlKeyspace) -> AsyncIterator[Cql]:
    settings = Settings(scylla_host=cql_keyspace.host, scylla_port=cql_keyspace.port, keyspace=cql_keyspace.name)
    cluster = make_cluster(settings)
    cluster.connect(settings.keyspace).execute("CREATE TABLE blobs (id int PRIMARY KEY, value blob)")
    cluster.shutdown()
    store = Cql(settings, capability="conversations")
    await store.start()
    assert await is_ok(store)
    yield store
    await store.close()


async def test_more_than_a_socket_takes_at_once_arrives_whole(cql: Cql) -> None:
    values = {number: bytes([number]) * 100_000 for number in range(60)}

    await asyncio.gather(*(cql.execute(PUT, (number, value)) for number, value in values.items()))
    rows = await asyncio.gather(*(cql.execute(GET, (number,)) for number in values))

    assert [row.value for (row,) in rows] == list(values.values())


async def test_a_statement_waits_no_longer_than_its_request_may(cql: Cql) -> None:
    await cql.execute(GET, (1,))
    deadlines.begin(b"1")
    await asyncio.sleep(0.01)
    try:
        with pytest.raises(CapabilityUnavailable):
            await asyncio.gather(*(cql.execute(GET, (number,)) for number in range(200)))
        assert cql.status == "ok", "our own deadline is no outage"
    finally:
        deadlines.lift()

    assert await cql.execute(GET, (1,))


async def test_a_process_that_was_busy_itself_does_not_take_the_database_for_away(cql: Cql) -> None:
    statements = [asyncio.create_task(cql.execute(GET, (number,))) for number in range(20)]
    await asyncio.sleep(0)

    time.sleep(1)  # noqa: ASYNC251 - longer than a statement may take, and nobody reads what came in
    await asyncio.gather(*statements, return_exceptions=True)

    assert cql.status == "ok"
    assert await cql.execute(GET, (1,))


async def test_a_write_without_a_timestamp_gets_the_engines_whatever_our_clock_says(
    cql: Cql, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = 3_600
    monkeypatch.setattr("cassandra.timestamps.time.time", lambda: 1_000 * hour)

    await cql.execute(PUT, (9, b"x"))
    written = await cql.execute("SELECT writetime(value) AS at, toUnixTimestamp(now()) AS now FROM blobs WHERE id = 9")

    assert abs(written[0].at / 1000 - written[0].now) < hour * 1000
