"""The whole stack, as `faq` runs it: up, hurt, down."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from local_stack.home import Home
from local_stack.orphans import find
from local_stack.specs import service_answers
from local_stack.state import load_state
from local_stack.testing import Stack, running_stack

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("local") / "home") as running:
        yield running


def test_status_names_every_process_with_its_own_id(stack: Stack) -> None:
    processes = {process.name: process for process in stack.processes()}

    assert {
        "gateway",
        "auth-service",
        "chat-service",
        "knowledge-service",
        "notification-service",
        "task-worker",
        "task-worker-worker",
        "postgresql",
        "redis-cache",
        "redis-data",
        "cassandra",
        "supervisor",
    } == set(processes)
    assert all(process.state == "ready" for process in processes.values())
    assert "gateway" in " ".join(psutil.Process(processes["gateway"].pid).cmdline())


def test_secrets_and_the_login_are_for_this_user_alone(stack: Stack) -> None:
    for name in ("secrets.json", "credentials.json", "state.json"):
        assert (stack.home / name).stat().st_mode & 0o777 == 0o600


def test_up_again_changes_nothing_and_answers(stack: Stack) -> None:
    before = {process.name: process.pid for process in stack.processes()}

    done = stack.faq("up")

    assert {process.name: process.pid for process in stack.processes()} == before
    assert done.stdout.splitlines()[-1] == stack.url


def test_a_taken_port_is_told_with_its_holder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    second = Stack(tmp_path_factory.mktemp("second") / "home", stack.port)

    done = second.faq("up", check=False)

    assert done.returncode == 8
    assert f"Port {stack.port} is taken by" in done.stderr
    assert not second.processes_left()


def test_stopped_on_purpose_an_engine_stays_down(stack: Stack) -> None:
    stack.faq("stop", "redis-cache")
    (stopped,) = stack.processes("redis-cache")

    stack.faq("start", "redis-cache")
    (started,) = stack.processes("redis-cache")

    assert (stopped.state, stopped.pid) == ("stopped", None)
    assert (started.state, started.pid is not None) == ("ready", True)


def test_while_the_gateway_restarts_nobody_is_refused(stack: Stack) -> None:
    environment = stack.environment
    with subprocess.Popen([sys.executable, "-m", "cli", "restart", "gateway"], env=environment) as restart:
        answers = []
        while restart.poll() is None:
            answers.append(answers_in_time(stack.port))

    assert len(answers) > 5
    assert all(answers)


def answers_in_time(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1) as link:
        link.settimeout(10)
        link.sendall(f"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return link.recv(16).startswith(b"HTTP/1.1 200")


def test_after_the_supervisor_is_killed_nothing_is_left_and_up_works_again(stack: Stack) -> None:
    (data,) = stack.processes("redis-data")
    (supervisor,) = stack.processes("supervisor")
    assert data.pid is not None
    os.kill(data.pid, signal.SIGSTOP)  # the worst kind of orphan: it cannot even notice
    recorded = load_state(Home(stack.home)).processes

    supervisor.kill()
    stack.up()

    assert len(recorded) > 10
    assert [entry.key for entry in recorded if find(entry)] == []
    assert service_answers("127.0.0.1", stack.port)


def test_a_start_does_not_depend_on_what_the_organization_has_published(stack: Stack) -> None:
    stack.faq("kb", "add", "--question", "Where is the manual?", "--answer", "On the shelf.")
    stack.faq("kb", "publish")
    stack.down()

    done = stack.faq("up", timeout=240)

    assert "First reply: no_answer" in done.stdout
    assert f"Login: {stack.credentials()['email']}" in done.stdout
    assert done.stdout.splitlines()[-1] == stack.url
    assert "On the shelf." in stack.faq("ask", "Where is the manual?").stdout


def test_fewer_replicas_leave_a_stack_that_takes_the_next_change(stack: Stack) -> None:
    stack.faq("up", "--replicas", "chat-service=2", timeout=120)
    two = [process.replica for process in stack.processes("chat-service")]

    stack.faq("up", "--replicas", "chat-service=1", timeout=120)
    stack.faq("restart", "chat-service", timeout=60)

    assert two == [1, 2]
    assert [process.replica for process in stack.processes("chat-service")] == [1]
    assert {process.state for process in stack.processes()} == {"ready"}


def test_down_leaves_nothing_even_with_a_frozen_service(stack: Stack) -> None:
    recorded = load_state(Home(stack.home)).processes
    (chat,) = stack.processes("chat-service")
    chat.kill(signal.SIGSTOP)

    began = time.monotonic()
    stack.down()

    assert time.monotonic() - began < 20
    assert [entry.key for entry in recorded if find(entry)] == []
    assert not stack.processes_left()


def test_logs_are_there_afterwards(stack: Stack) -> None:
    with contextlib.suppress(FileNotFoundError):
        assert "error" not in (stack.home / "logs" / "supervisor.log").read_text().casefold().split()

    assert stack.faq("logs", "gateway", "-n", "1").stdout.startswith("gateway")
