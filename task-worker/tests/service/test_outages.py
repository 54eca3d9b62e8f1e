"""PostgreSQL frozen or killed: the API refuses quickly and says why, workers wait, all of it heals by itself."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from local_stack.engines.running import EngineAddresses, EngineSet
from local_stack.engines.temporary import PostgresDatabase, temporary_database
from local_stack.process import spawn
from shared.testing import eventually

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineSet, EngineAddresses]]:
    """A server of our own: the shared one must not be frozen."""
    engines = EngineSet(tmp_path_factory.mktemp("own"), ("postgresql",), durable=True)
    with engines as addresses:
        yield engines, addresses


@pytest.fixture(scope="module")
def own(started: tuple[EngineSet, EngineAddresses]) -> EngineSet:
    return started[0]


@pytest.fixture(scope="module")
def postgres_database(started: tuple[EngineSet, EngineAddresses]) -> Iterator[PostgresDatabase]:
    where = started[1].postgresql
    assert where is not None
    with temporary_database(where) as database:
        yield database


@contextmanager
def frozen(engines: EngineSet, *, whole: bool) -> Iterator[None]:
    postmaster = psutil.Process(engines.child("postgresql").pid)
    processes = [postmaster, *(postmaster.children(recursive=True) if whole else ())]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


async def refused(person: Any) -> bool:
    """Whether every path says within the limits that tasks are away."""
    for method, path, body in (
        ("POST", "/tasks/analyze", {"description": "volume by day"}),
        ("GET", "/tasks", None),
        ("GET", "/tasks/01a2107c-58c3-70e0-9bbb-556c15be4a03/status", None),
    ):
        began = time.monotonic()
        reply = await person.http.request(method, path, json=body)
        assert time.monotonic() - began < 4
        assert reply.status_code in (200, 202, 404, 503), reply.text
        if reply.status_code != 503:
            return False
        assert reply.json()["capability"] == "tasks"
        assert reply.headers["retry-after"]
    return True


async def served(person: Any) -> bool:
    return bool((await person.http.get("/tasks")).status_code == 200)


@pytest.mark.parametrize("whole", [True, False])
async def test_a_frozen_server_is_refused_quickly_and_heals(
    own: EngineSet, person: Any, workers: Any, *, whole: bool
) -> None:
    workers.start()
    assert (await person.ended(await person.submit()))["status"] == "succeeded"

    with frozen(own, whole=whole):
        await eventually(lambda: refused(person), 6)
    began = time.monotonic()
    await eventually(lambda: served(person), 10)

    assert (await person.ended(await person.submit(), 15))["status"] == "succeeded"
    assert time.monotonic() - began < 20


async def test_a_server_that_died_is_found_again(own: EngineSet, person: Any, workers: Any, neighbours: Any) -> None:
    worker = workers.start()
    waiting = await person.submit()
    child = own.child("postgresql")
    child.kill()
    await eventually(lambda: refused(person), 6)

    own._children[own._children.index(child)] = spawn(child.launch)
    await eventually(lambda: served(person), 15)

    assert (await person.ended(waiting, 20))["status"] == "succeeded"
    assert (await person.ended(await person.submit(), 20))["status"] == "succeeded"
    assert worker.poll() is None

    async def told() -> bool:
        return bool(neighbours.notified[f"task:{waiting}:ended"])

    await eventually(told)
