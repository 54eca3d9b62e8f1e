"""Clients that hang up half-way: nothing is reported as a failure, nothing is left behind, others notice nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import structlog

from gateway.testing import Asked, Replica, RunningGateway, TokenMint, plain
from shared.testing import eventually

UPLOAD = b"POST /knowledge/import HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 5000000\r\n"


@pytest.fixture
async def unhandled() -> AsyncIterator[list[dict[str, Any]]]:
    """What the event loop complains of meanwhile."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield complaints
    loop.set_exception_handler(None)


async def begin_upload(gateway: RunningGateway, mint: TokenMint) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(UPLOAD + b"Authorization: Bearer " + mint.token().encode() + b"\r\n\r\n" + b"x" * 200_000)
    await writer.drain()
    return writer


async def test_a_client_that_leaves_during_an_upload_is_no_failure(
    gateway: RunningGateway, replica: Replica, mint: TokenMint, unhandled: list[dict[str, Any]]
) -> None:
    with structlog.testing.capture_logs() as logged:
        writer = await begin_upload(gateway, mint)
        await eventually(lambda: replica.connections > 5)
        before = len(replica._writers)
        writer.transport.abort()
        await eventually(lambda: len(replica._writers) < before)
        await asyncio.sleep(0.05)
        gc.collect()

    assert [line for line in logged if line["log_level"] in ("warning", "error")] == []
    assert unhandled == []
    assert replica.asked == []


async def test_a_client_that_leaves_while_the_service_thinks_is_no_failure(
    gateway: RunningGateway, replica: Replica, mint: TokenMint, unhandled: list[dict[str, Any]]
) -> None:
    thought = asyncio.Event()

    async def thinks(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await thought.wait()
        writer.write(plain(200, b"{}"))

    replica.answer = thinks
    with structlog.testing.capture_logs() as logged:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        token = mint.token().encode()
        writer.write(b"GET /chat/sessions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
        await eventually(lambda: len(replica.asked) == 1)
        writer.transport.abort()
        thought.set()
        await asyncio.sleep(0.05)
        gc.collect()

    assert [line for line in logged if line["log_level"] in ("warning", "error")] == []
    assert unhandled == []


async def test_a_service_that_dies_during_an_upload_leaves_no_exception_behind(
    gateway: RunningGateway, replica: Replica, mint: TokenMint, unhandled: list[dict[str, Any]]
) -> None:
    writer = await begin_upload(gateway, mint)
    await eventually(lambda: replica.connections > 5)
    replica.kill()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    gc.collect()

    assert unhandled == []


async def test_uploads_that_break_off_do_not_take_the_service_away(
    gateway: RunningGateway, client: httpx2.AsyncClient, replica: Replica, mint: TokenMint
) -> None:
    for _ in range(10):
        writer = await begin_upload(gateway, mint)
        writer.transport.abort()

    reply = await client.post("/knowledge/import", json={"articles": []})

    assert reply.status_code == 200
    assert len(replica.asked) == 1
