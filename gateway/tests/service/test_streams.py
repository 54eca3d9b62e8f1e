"""Event streams through the gateway: piece by piece, for as long as they last, and gone when nobody listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from gateway.routes import gateway as hot_path
from gateway.testing import Asked, Replica, RunningGateway, TokenMint

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Ticker:
    """A service that sends an event every 50 ms until the other side leaves."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.sent = 0

    async def __call__(self, _asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        try:
            while not writer.is_closing():
                event = b"event: tick\nid: %d\ndata: {}\n\n" % self.sent
                writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                await writer.drain()
                self.sent += 1
                await asyncio.sleep(0.05)
        finally:
            self.ended.set()


@asynccontextmanager
async def listening(
    client: httpx2.AsyncClient, **headers: str
) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[str]]]:
    async with client.stream("GET", "/notifications/stream", headers=headers) as reply:
        yield reply, reply.aiter_lines()


async def test_events_arrive_as_they_are_sent(client: httpx2.AsyncClient, replica: Replica) -> None:
    ticker = Ticker()
    replica.answer = ticker

    async with listening(client, **{"Last-Event-ID": "7"}) as (reply, lines):
        seen = [line async for line in _first(lines, 12)]

    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-store"
    assert [line for line in seen if line.startswith("id: ")] == ["id: 0", "id: 1", "id: 2"]
    assert ticker.sent < 8
    assert replica.asked[-1].headers["last-event-id"] == "7"


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield await anext(lines)


async def test_a_listener_who_leaves_ends_the_stream_at_the_service(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    ticker = Ticker()
    replica.answer = ticker

    async with listening(client) as (_, lines):
        await anext(lines)

    await asyncio.wait_for(ticker.ended.wait(), 2)


async def test_a_stream_outlives_the_deadline_of_ordinary_requests(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    replica.answer = Ticker()

    async with asyncio.timeout(12), listening(client) as (_, lines):
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began < 5.5:
            await anext(lines)


async def test_a_stream_ends_with_its_token(
    client: httpx2.AsyncClient, replica: Replica, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(hot_path, "WATCH_EVERY", 0.1)
    replica.answer = Ticker()
    token = mint.token(exp=time.time() + 1.2)

    async with asyncio.timeout(5), listening(client, Authorization=f"Bearer {token}") as (reply, lines):
        seen = [line async for line in lines]

    assert reply.status_code == 200
    assert len(seen) > 10


async def test_a_drained_gateway_ends_streams_in_order_and_finishes_requests(
    client: httpx2.AsyncClient, replica: Replica, gateway: RunningGateway
) -> None:
    async def answers(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/notifications/stream":
            await Ticker()(asked, reader, writer)
        else:
            await asyncio.sleep(0.6)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    replica.answer = answers
    running = asyncio.create_task(client.post("/chat/message", json={"message": "hi"}))
    async with asyncio.timeout(5), listening(client) as (_, lines):
        await anext(lines)
        gateway.drain()
        rest = [line async for line in lines]

    assert rest
    assert (await running).text == "ok"
    with pytest.raises(httpx2.ConnectError):
        await client.get("/health/live")


async def test_a_message_can_be_streamed(client: httpx2.AsyncClient, replica: Replica) -> None:
    async def streams(asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert asked.headers["accept"] == "text/event-stream"
        event = b"event: message\ndata: {}\n\n"
        writer.write(HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))

    replica.answer = streams

    reply = await client.post("/chat/message", json={"message": "hi"}, headers={"Accept": "text/event-stream"})

    assert reply.text == "event: message\ndata: {}\n\n"
