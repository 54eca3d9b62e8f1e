"""Replicas that die, drain, freeze or talk nonsense: what the client sees of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from gateway.clients import upstream
from gateway.testing import Asked, Replica, TokenMint, plain, running_gateway, settings_for

MESSAGE = {"message": "hi"}


@asynccontextmanager
async def two(mint: TokenMint) -> AsyncIterator[tuple[httpx2.AsyncClient, Replica, Replica]]:
    """A client of a gateway in front of two replicas."""
    one, other = Replica(mint), Replica(mint)
    async with AsyncExitStack() as stack:
        for replica in (one, other):
            await replica.start()
            stack.callback(replica.kill)
        settings = settings_for(f"{one.url},{other.url}", auth_service_url=one.url)
        gateway = await stack.enter_async_context(running_gateway(settings))
        headers = {"Authorization": f"Bearer {mint.token()}"}
        limits = httpx2.Limits(max_connections=40)
        client = httpx2.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, limits=limits, timeout=20)
        yield await stack.enter_async_context(client), one, other


async def slowly(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.02)
    writer.write(plain(200, b'{"ok":true}'))


async def test_requests_are_spread_over_the_replicas(mint: TokenMint) -> None:
    async with two(mint) as (client, one, other):
        for _ in range(20):
            await client.get("/chat/sessions")

        assert len(one.asked) == len(other.asked) == 10


@pytest.mark.parametrize("end", ["kill", "drain"])
async def test_a_replica_that_ends_under_load_costs_no_request(mint: TokenMint, end: str) -> None:
    async with two(mint) as (client, one, other):
        one.answer = other.answer = slowly
        statuses: list[int] = []

        async def visitor() -> None:
            headers = {"Authorization": f"Bearer {mint.token()}"}
            for _ in range(40):
                statuses.append((await client.post("/chat/message", json=MESSAGE, headers=headers)).status_code)
                statuses.append((await client.get("/chat/sessions", headers=headers)).status_code)

        async def fate() -> None:
            for _ in range(3):
                await asyncio.sleep(0.3)
                other.kill() if end == "kill" else other.drain()
                await asyncio.sleep(0.3)
                await other.start()

        await asyncio.gather(fate(), *(visitor() for _ in range(20)))

        assert len(statuses) == 1600
        assert set(statuses) == {200}


async def test_a_message_is_repeated_with_the_same_key(mint: TokenMint) -> None:
    async with two(mint) as (client, one, other):

        async def dies(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        one.answer = dies
        for _ in range(2):
            reply = await client.post("/chat/message", json=MESSAGE)
            assert reply.status_code == 200

        assert one.asked[-1].headers["x-retry-key"] in [asked.headers["x-retry-key"] for asked in other.asked]


async def test_a_post_that_may_have_been_worked_on_is_not_repeated(mint: TokenMint) -> None:
    async with two(mint) as (client, one, other):

        async def dies(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        one.answer = other.answer = dies
        reply = await client.post("/knowledge/articles", json={"question": "q"})
        keyed = await client.post("/knowledge/articles", json={"question": "q"}, headers={"Idempotency-Key": "k"})

        assert (reply.status_code, reply.json()["capability"]) == (503, "knowledge")
        assert keyed.status_code == 503
        assert len(one.asked) + len(other.asked) == 1 + 2


async def test_a_post_that_met_a_connection_closed_in_between_is_repeated(mint: TokenMint) -> None:
    async with two(mint) as (client, one, other):
        for _ in range(10):
            for _ in range(4):
                await client.get("/chat/sessions")
            one.drain()
            other.drain()
            await one.start()
            await other.start()

            reply = await client.post("/knowledge/articles", json={"question": "q"})

            assert reply.status_code == 200
        assert sum(asked.method == "POST" for asked in one.asked + other.asked) == 10


async def test_a_reply_cut_off_half_way_looks_cut_off(client: httpx2.AsyncClient, replica: Replica) -> None:
    async def half(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    replica.answer = half

    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get("/auth/me")


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
async def test_a_reply_that_is_not_http_is_a_problem_not_a_crash(
    client: httpx2.AsyncClient, replica: Replica, garbage: bytes
) -> None:
    async def babbles(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)

    replica.answer = babbles
    reply = await client.post("/auth/logout")
    replica.answer = Replica().answer
    after = await client.get("/chat/sessions")

    assert reply.status_code in (502, 503)
    assert reply.headers["content-type"] == "application/problem+json"
    assert after.status_code == 200


async def test_more_bytes_than_were_announced_never_reach_the_next_client(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    async def says_more(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(200, b"mine") + plain(200, b"somebody else's"))

    replica.answer = says_more
    first = await client.get("/auth/me")
    replica.answer = Replica().answer
    second = await client.get("/auth/me")

    assert (first.content, second.json()) == (b"mine", {"ok": True})


async def test_a_service_that_does_not_answer_is_504_within_the_deadline(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    async def sleeps(_asked: Asked, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    replica.answer = sleeps
    began = time.monotonic()

    reply = await client.get("/auth/me", timeout=10)

    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
    assert 4.5 < time.monotonic() - began < 6


async def test_a_frozen_replica_is_passed_over_while_another_is_well(
    mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "FIRST_ATTEMPT", 0.3)
    async with two(mint) as (client, one, other):

        async def sleeps(_asked: Asked, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(20)

        other.answer = sleeps
        replies = [await client.get("/chat/sessions") for _ in range(6)]

        assert {reply.status_code for reply in replies} == {200}
        assert len(other.asked) <= 3
        assert len(one.asked) == 6


async def test_a_service_without_replicas_is_503_at_once(client: httpx2.AsyncClient, replica: Replica) -> None:
    await client.get("/chat/sessions")
    replica.kill()
    began = time.monotonic()

    replies = [await client.get("/chat/sessions") for _ in range(5)]

    assert {reply.status_code for reply in replies} == {503}
    assert {reply.json()["capability"] for reply in replies} == {"conversations"}
    assert time.monotonic() - began < 1


async def test_connections_are_kept_and_reused(client: httpx2.AsyncClient, replica: Replica) -> None:
    await client.get("/chat/sessions")
    before = replica.connections

    for _ in range(30):
        await client.get("/chat/sessions")

    assert replica.connections <= before + 1  # the health monitor may need one at the same time


async def test_a_client_that_leaves_never_spoils_a_connection(
    client: httpx2.AsyncClient, replica: Replica, mint: TokenMint
) -> None:
    replica.answer = slowly
    port = client.base_url.port
    assert port is not None

    async def leaves(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET /chat/history/s{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {mint.token()}\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.transport.abort()

    await asyncio.gather(*(leaves(number) for number in range(20)))
    replies = await asyncio.gather(*(client.get(f"/chat/history/mine{number}") for number in range(20)))

    assert {reply.status_code for reply in replies} == {200}
