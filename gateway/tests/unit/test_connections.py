"""Who owns a descriptor: a connection that fails to come about never closes what is not its own."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from gateway.clients import upstream
from gateway.clients.connection import ReplicaFailed
from gateway.clients.upstream import Replica
from shared.breaker import Breaker
from shared.replicas import Address

Result = TypeVar("Result")

CONNECT = timedelta(milliseconds=30).total_seconds()


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "CONNECT", CONNECT)


def on_uvloop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it on the loop that the gateway runs on, apart from the loop of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(uvloop.run, work).result()


def block_until_timeout_is_due() -> None:
    """Hold the loop: in its next turn it finds both the timeout that is due and the connect that has succeeded."""
    time.sleep(CONNECT * 2)


def listening() -> tuple[socket.socket, Replica]:
    """A server that lets the kernel take connections in, and a replica at its address."""
    server = socket.create_server(("127.0.0.1", 0))
    return server, Replica(Address(*server.getsockname()), Breaker("replica"), b"")


def open_descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def connect(replica: Replica, *, cancelled: bool = False) -> BaseException | None:
    """Connect so that success and timeout (or cancellation) fall into one turn of the loop; what came of it."""
    attempt = asyncio.create_task(replica.new_connection())
    asyncio.get_running_loop().call_soon(block_until_timeout_is_due)
    if cancelled:
        asyncio.get_running_loop().call_soon(attempt.cancel)
    (outcome,) = await asyncio.gather(attempt, return_exceptions=True)
    return outcome if isinstance(outcome, BaseException) else None


async def closed_foreign_descriptors(*, cancelled: bool) -> tuple[BaseException | None, int]:
    """Foreign sockets take the freed numbers; how many of them somebody else closes."""
    server, replica = listening()
    outcome = await connect(replica, cancelled=cancelled)
    foreign = [socket.socket() for _ in range(8)]

    gc.collect()
    closed = 0
    for each in foreign:
        try:
            os.fstat(each.fileno())
            each.close()
        except OSError:
            each.detach()
            closed += 1
    server.close()
    return outcome, closed


def test_a_connect_that_succeeds_in_the_turn_of_its_timeout_closes_no_foreign_socket() -> None:
    outcome, closed = on_uvloop(closed_foreign_descriptors(cancelled=False))

    assert isinstance(outcome, ReplicaFailed)
    assert outcome.untouched
    assert closed == 0


def test_a_connect_that_succeeds_in_the_turn_of_its_cancellation_closes_no_foreign_socket() -> None:
    outcome, closed = on_uvloop(closed_foreign_descriptors(cancelled=True))

    assert isinstance(outcome, asyncio.CancelledError)
    assert closed == 0


def test_connections_that_failed_to_come_about_leave_no_descriptor_open() -> None:
    async def leaked() -> int:
        server, replica = listening()
        await connect(replica)
        before = open_descriptors()
        for _ in range(5):
            await connect(replica)
        await asyncio.sleep(0.05)
        after = open_descriptors()
        server.close()
        return after - before

    assert on_uvloop(leaked()) <= 0


def test_a_closed_connection_gives_its_descriptors_back() -> None:
    async def leaked() -> int:
        server, replica = listening()
        (await replica.new_connection()).close()
        await asyncio.sleep(0.05)  # the loop's own descriptors are open now
        before = open_descriptors()
        connections = [await replica.new_connection() for _ in range(4)]
        for connection in connections:
            connection.close()
        await asyncio.sleep(0.05)
        after = open_descriptors()
        server.close()
        return after - before

    assert on_uvloop(leaked()) <= 0
