"""More and fewer replicas of a running stack, and kills in the middle of it: a real supervisor over stand-ins."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_stack import stack
from local_stack.control import NotRunning
from local_stack.testing import SmallStack
from shared.testing import eventually_blocking

pytestmark = pytest.mark.timeout(60)
SLOW = "1.5"
"""Seconds that a chat-service takes to stop where a test needs time to do something meanwhile."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallStack]:
    with SmallStack(tmp_path / "home") as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_fewer_replicas_are_stopped_and_the_next_change_is_taken(small: SmallStack) -> None:
    small.up(3)
    before = small.pids("chat-service")

    small.up(1)
    stack.act(small.home, "restart", "chat-service")

    assert small.states() == {"gateway-1": "ready", "chat-service-1": "ready"}
    assert not any(map(runs, before))


def test_more_replicas_are_started_and_those_that_run_go_on(small: SmallStack) -> None:
    small.up(1)
    (first,) = small.pids("chat-service")

    small.up(3)

    assert small.pids("chat-service")[0] == first
    assert set(small.states().values()) == {"ready"}
    assert len(small.pids("chat-service")) == 3


def test_up_and_down_again_ends_where_it_began(small: SmallStack) -> None:
    for count in (2, 1, 3, 2, 1):
        small.up(count)
        assert len(small.pids("chat-service")) == count


def test_while_it_scales_nobody_is_refused_at_the_gateway(small: SmallStack) -> None:
    small.up(1)
    done = threading.Event()
    answers: list[bool] = []

    def call() -> None:
        while not done.is_set():
            answers.append(answered(small.port))

    caller = threading.Thread(target=call)
    caller.start()
    small.up(2)
    small.up(1)
    done.set()
    caller.join()

    assert len(answers) > 10
    assert all(answers)


def answered(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 5) as link:
        link.settimeout(10)
        link.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return link.recv(16).startswith(b"HTTP/1.0 200")


def test_a_port_lost_while_scaled_down_is_replaced_by_another(small: SmallStack) -> None:
    small.up(2)
    url = next(row["url"] for row in stack.status(small.home)["processes"] if row["replica"] == 2)
    port = int(url.rsplit(":", 1)[1])
    small.up(1)

    with socket.create_server(("127.0.0.1", port)):
        small.up(2)

    assert small.states()["chat-service-2"] == "ready"


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1)])
def test_a_process_killed_in_the_middle_of_a_change_comes_back(
    small: SmallStack, pool: ThreadPoolExecutor, first: int, then: int
) -> None:
    small.up(first, CHAT_DRAIN=SLOW)
    change = pool.submit(small.up, then, CHAT_DRAIN=SLOW)
    for _ in range(5):
        for pid in small.pids("chat-service"):
            kill(pid)
        time.sleep(0.1)

    change.result(timeout=30)

    assert eventually_blocking(lambda: set(small.states().values()) == {"ready"})
    assert len(small.pids("chat-service")) == then


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1)])
def test_after_the_supervisor_is_killed_in_the_middle_nothing_is_left_and_the_next_up_has_what_it_says(
    small: SmallStack, pool: ThreadPoolExecutor, first: int, then: int
) -> None:
    small.up(first, CHAT_DRAIN=SLOW)
    before = small.pids("chat-service") + small.pids("gateway")
    change = pool.submit(small.up, then, CHAT_DRAIN=SLOW)
    wait_until_under_way(small, change, before)

    small.kill_supervisor()
    with pytest.raises((stack.Refused, NotRunning)):
        change.result(timeout=30)
    small.start_supervisor()
    small.up(2)

    assert not any(map(runs, before))
    assert set(small.states().values()) == {"ready"}
    assert len(small.pids("chat-service")) == 2


def wait_until_under_way(small: SmallStack, change: Future[Any], before: list[int]) -> None:
    assert eventually_blocking(lambda: small.pids("chat-service") + small.pids("gateway") != before or change.done())


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1)])
def test_down_in_the_middle_of_a_change_ends_everything_in_time(
    small: SmallStack, pool: ThreadPoolExecutor, first: int, then: int
) -> None:
    small.up(first, CHAT_DRAIN=SLOW)
    before = small.pids("chat-service") + small.pids("gateway")
    change = pool.submit(small.up, then, CHAT_DRAIN=SLOW)
    wait_until_under_way(small, change, before)

    began = time.monotonic()
    stack.down(small.home)

    assert time.monotonic() - began < 10
    with pytest.raises((stack.Refused, NotRunning)):
        change.result(timeout=30)
    assert not any(map(runs, before))
    assert not small.is_locked()


def test_the_change_behind_one_that_down_cancelled_is_refused(small: SmallStack, pool: ThreadPoolExecutor) -> None:
    small.up(1, CHAT_DRAIN=SLOW)
    (first,) = small.pids("chat-service")
    restart = pool.submit(stack.act, small.home, "restart", "chat-service")
    assert eventually_blocking(
        lambda: small.states()["chat-service-1"] != "ready" or small.pids("chat-service") != [first]
    )
    behind = pool.submit(small.up, 3)

    stack.down(small.home)

    for change in (restart, behind):
        with pytest.raises((stack.Refused, NotRunning, IndexError)):
            change.result(timeout=30)


def test_a_frozen_replica_is_taken_away_all_the_same(small: SmallStack) -> None:
    small.up(2)
    frozen = small.pids("chat-service")[1]
    os.kill(frozen, signal.SIGSTOP)

    small.up(1)

    assert not runs(frozen)


def runs(pid: int) -> bool:
    """Whether a process does anything still: an orphan that has ended stays a zombie until somebody asks for it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
