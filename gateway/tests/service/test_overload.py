"""More than can be done: refusals come at once and say so, and what must never be refused is not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx2
import pytest

from gateway.testing import Asked, Replica, RunningGateway, TokenMint, plain, running_gateway, settings_for


class Slow:
    """An answer that takes until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, _asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.release.wait()
        writer.write(plain(200, b"{}"))


@pytest.fixture
def slow(replica: Replica) -> Slow:
    replica.answer = slow = Slow()
    return slow


@pytest.fixture
async def gateway(replica: Replica) -> AsyncIterator[RunningGateway]:
    """One that works on four requests of a kind at once."""
    async with running_gateway(settings_for(replica.url, max_in_flight=4)) as running:
        yield running


async def came(replica: Replica, count: int) -> None:
    """Wait until so many requests have reached the replica."""
    async with asyncio.timeout(5):
        while len(replica.asked) < count:  # noqa: ASYNC110 - the replica is told of nothing else
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def busy(client: httpx2.AsyncClient, replica: Replica, slow: Slow) -> AsyncIterator[None]:
    """As much under way as there may be."""
    tasks = [asyncio.create_task(client.post("/chat/message", json={})) for _ in range(4)]
    await came(replica, 4)
    yield
    slow.release.set()
    assert [reply.status_code for reply in await asyncio.gather(*tasks)] == [200] * 4


async def test_what_is_too_much_is_refused_within_250_ms_with_a_time_to_come_back(
    client: httpx2.AsyncClient, replica: Replica, slow: Slow
) -> None:
    async with busy(client, replica, slow):
        began = time.perf_counter()
        reply = await client.post("/chat/message", json={})
        took = time.perf_counter() - began

    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert reply.headers["retry-after"] == "1"
    assert took < 0.25
    assert len(replica.asked) == 4


async def test_a_refused_client_keeps_its_connection(client: httpx2.AsyncClient, replica: Replica, slow: Slow) -> None:
    async with busy(client, replica, slow):
        reply = await client.post("/chat/message", json={})

    assert reply.status_code == 503
    assert reply.headers.get("connection") != "close"


async def test_health_is_told_while_everything_else_is_refused(
    client: httpx2.AsyncClient, replica: Replica, slow: Slow
) -> None:
    async with busy(client, replica, slow):
        began = time.perf_counter()
        reply = await client.get("/health")
        took = time.perf_counter() - began

    assert reply.status_code == 200
    assert took < 0.25


async def test_a_logout_is_never_refused(client: httpx2.AsyncClient, replica: Replica, slow: Slow) -> None:
    async with busy(client, replica, slow):
        logouts = [asyncio.create_task(client.post("/auth/logout")) for _ in range(8)]
        await came(replica, 12)
        slow.release.set()

        assert [reply.status_code for reply in await asyncio.gather(*logouts)] == [200] * 8


async def test_a_full_pool_of_questions_keeps_nobody_from_logging_in(
    client: httpx2.AsyncClient, replica: Replica, slow: Slow
) -> None:
    async with busy(client, replica, slow):
        login = asyncio.create_task(client.post("/auth/login", json={}))
        await came(replica, 5)
        slow.release.set()

        assert (await login).status_code == 200


async def test_a_slow_body_takes_no_place(
    gateway: RunningGateway, client: httpx2.AsyncClient, replica: Replica, mint: TokenMint
) -> None:
    head = b"POST /chat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    head += b"Authorization: Bearer " + mint.token().encode() + b"\r\n\r\n{"
    writers = []
    for _ in range(8):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head)
        writers.append(writer)
    await asyncio.sleep(0.1)

    assert (await client.post("/chat/message", json={})).status_code == 200
    assert len(replica.asked) == 1
    for writer in writers:
        writer.close()


async def test_a_request_whose_client_left_before_its_turn_is_not_worked_on(
    gateway: RunningGateway, client: httpx2.AsyncClient, replica: Replica, slow: Slow
) -> None:
    bearer = client.headers["authorization"].encode()
    head = b"GET /chat/sessions HTTP/1.1\r\nHost: a\r\nAuthorization: " + bearer + b"\r\n\r\n"
    async with busy(client, replica, slow):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head)
        await asyncio.sleep(0.02)
        writer.transport.abort()
        await asyncio.sleep(0.01)
        slow.release.set()

    assert [asked.target for asked in replica.asked] == ["/chat/message"] * 4


async def test_after_many_aborted_requests_the_next_are_answered_at_once(
    gateway: RunningGateway, client: httpx2.AsyncClient, mint: TokenMint
) -> None:
    request = b"GET /chat/sessions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + mint.token().encode() + b"\r\n\r\n"

    async def aborted(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request)
        await asyncio.sleep(0.001 * (number % 50))
        writer.transport.abort()

    for _ in range(5):
        await asyncio.gather(*map(aborted, range(100)))
    began = time.perf_counter()
    replies = [await client.get("/chat/sessions") for _ in range(20)]

    assert [reply.status_code for reply in replies] == [200] * 20
    assert time.perf_counter() - began < 2


async def test_more_connections_than_there_may_be_are_told_so_and_closed(replica: Replica) -> None:
    async with running_gateway(settings_for(replica.url, max_connections=16)) as gateway:
        held = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(16)]
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        said = await reader.read(10_000)
        for _, each in [*held, (reader, writer)]:
            each.close()

    assert said.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"overloaded"' in said
