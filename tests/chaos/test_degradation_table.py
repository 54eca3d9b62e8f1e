"""The degradation table, cell by cell: every engine stopped and frozen under the whole stack."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from local_stack.testing import Stack, running_stack
from shared.degradation import ENGINES, LOST_WITH, TABLE, Cell, Engine, Outage, Row
from shared.testing import eventually_blocking

sys.path.insert(0, str(Path(__file__).parent))

from operations import OPERATIONS, SLOWEST, Product, User

PROCESSES: dict[Engine, str] = {
    "postgresql": "postgresql",
    "cql": "cassandra",
    "redis_cache": "redis-cache",
    "redis_data": "redis-data",
}
NOTICED = 3
HEALED = {"stopped": 45, "frozen": 15, "full": 15}
WAYS: list[tuple[Outage, str]] = [
    *((engine, how) for engine in ENGINES for how in ("stopped", "frozen")),
    ("redis_data_full", "full"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def product(stack: Stack) -> Iterator[Product]:
    with Product(stack.url) as made:
        yield made


@contextmanager
def away(stack: Stack, engine: Engine, how: str) -> Iterator[None]:
    if how == "full":
        with full(stack, PROCESSES[engine]):
            time.sleep(NOTICED)
            yield
        return
    name = PROCESSES[engine]
    if how == "stopped":
        stack.faq("stop", name)
    else:
        for process in stack.processes(name):
            process.kill(signal.SIGSTOP)
    try:
        time.sleep(NOTICED)
        yield
    finally:
        if how == "stopped":
            stack.faq("start", name)
        else:
            for process in stack.processes(name):
                process.kill(signal.SIGCONT)


@contextmanager
def full(stack: Stack, name: str) -> Iterator[None]:
    """A server at its memory limit, which refuses what writes and answers all else."""
    (process,) = stack.processes(name)
    with Redis.from_url(str(process.url)) as server:
        before = server.config_get("maxmemory")["maxmemory"]
        server.config_set("maxmemory", 1)
        try:
            yield
        finally:
            server.config_set("maxmemory", before)


def kept(cell: Cell, row: Row, reply: httpx2.Response) -> bool:
    served = 200 <= reply.status_code < 300
    refused = (
        reply.status_code == 503
        and reply.headers["content-type"] == "application/problem+json"
        and "retry-after" in reply.headers
        and reply.json().get("capability") == row.capability
    )
    return {"served": served, "refused": refused, "served_or_refused": served or refused}[cell.promise]


def test_every_operation_of_the_table_is_tried() -> None:
    assert {row.operation for row in TABLE} == set(OPERATIONS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("outage", "how"), WAYS)
def test_the_table_holds_while_an_engine_is_away(stack: Stack, product: Product, outage: Outage, how: str) -> None:
    engine: Engine = "redis_data" if outage == "redis_data_full" else outage
    user = product.newcomer()
    broken = []

    with away(stack, engine, how):
        for row in TABLE:
            began = time.monotonic()
            reply = OPERATIONS[row.operation](product, user)
            took = time.monotonic() - began
            if not kept(row.cell(outage), row, reply) or took > SLOWEST:
                broken.append((row.operation, reply.status_code, reply.text[:200], round(took, 1)))
        health = product.health()

    assert broken == []
    assert health["status"] == "degraded"
    assert all(health["capabilities"][lost] != "ok" for lost in LOST_WITH[engine])
    eventually_blocking(lambda: product.health()["status"] == "ok", HEALED[how])
    history = eventually_blocking(lambda: _history(product, user, 4), 20)
    assert [message["role"] for message in history] == ["user", "assistant"] * 2


def _history(product: Product, user: User, count: int) -> list[dict[str, Any]]:
    reply = product.send("GET", f"/chat/history/{user.session}", token=user.token)
    messages = reply.json().get("messages", []) if reply.status_code == 200 else []
    return messages if len(messages) >= count else []


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "service",
    ["chat-service", "knowledge-service", "auth-service", "notification-service", "task-worker", "gateway"],
)
def test_a_killed_service_is_back_within_fifteen_seconds(stack: Stack, product: Product, service: str) -> None:
    for process in stack.processes(service):
        process.kill()

    eventually_blocking(lambda: product.newcomer().message_id, 15, despite=(httpx2.HTTPError,))
