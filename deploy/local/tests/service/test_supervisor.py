"""What the supervisor answers to commands, over stand-ins and real processes."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_stack import stack
from local_stack.control import NotRunning, ask
from local_stack.desired import DesiredState
from local_stack.home import Home
from local_stack.ports import free_port
from local_stack.state import load_state
from local_stack.supervisor import AlreadyRunning, supervise
from local_stack.testing import SmallStack
from shared.testing import eventually_blocking

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallStack]:
    with SmallStack(tmp_path / "home") as made:
        yield made


def test_up_tells_the_plan_first_then_what_happens_and_last_that_it_has_settled(small: SmallStack) -> None:
    events = small.up(2)

    assert [row["name"] for row in events[0]["plan"]["rows"]] == ["gateway", "chat-service", "chat-service-2"]
    ready = {event["process"] for event in events[1:-1] if event["event"] == "ready"}
    assert ready == {"gateway", "chat-service", "chat-service-2"}
    assert events[-1] == {"settled": True, "problems": [], "gateway": f"http://127.0.0.1:{small.port}"}


def test_up_again_with_the_same_wish_touches_nothing(small: SmallStack) -> None:
    small.up(2)
    before = small.pids("chat-service") + small.pids("gateway")

    small.up(2)

    assert small.pids("chat-service") + small.pids("gateway") == before


def test_a_number_of_replicas_stays_until_another_is_asked_for(small: SmallStack) -> None:
    small.up(3)

    list(stack.up(small.home, DesiredState(gateway_port=small.port)))

    assert len(small.pids("chat-service")) == 3


def test_a_changed_setting_restarts_what_it_changes_and_nothing_else(small: SmallStack) -> None:
    small.up(1)
    gateway, chat = small.pids("gateway"), small.pids("chat-service")

    small.up(1, CHAT_DRAIN="0.1")

    assert small.pids("gateway") == gateway
    assert small.pids("chat-service") != chat


def test_another_port_moves_the_gateway_and_lets_the_old_one_go(small: SmallStack) -> None:
    small.up(1)
    old, small.port = small.port, free_port()

    events = small.up(1)

    assert events[-1]["gateway"] == f"http://127.0.0.1:{small.port}"
    socket.create_connection(("127.0.0.1", small.port), timeout=1).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old), timeout=1)


def test_a_port_that_is_taken_is_refused_before_anything_starts_and_the_supervisor_ends(small: SmallStack) -> None:
    with (
        socket.create_server(("127.0.0.1", small.port)),
        pytest.raises(stack.Refused, match=f"Port {small.port} is taken by"),
    ):
        small.up(1)

    eventually_blocking(lambda: not small.is_locked())
    assert load_state(small.home).processes == []


def test_a_port_that_is_taken_leaves_a_running_stack_as_it_is(small: SmallStack) -> None:
    small.up(1)
    before, port = small.pids("gateway"), small.port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        small.port = taken.getsockname()[1]
        with pytest.raises(stack.Refused, match="is taken by"):
            small.up(1)

    assert small.pids("gateway") == before
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


@pytest.mark.parametrize("command", ["stop", "start", "restart"])
def test_an_unknown_name_is_refused_with_the_known_ones(small: SmallStack, command: str) -> None:
    small.up(1)

    with pytest.raises(stack.Refused, match="there are chat-service, gateway"):
        stack.act(small.home, command, "chat")


def test_a_killed_process_comes_back_and_is_counted(small: SmallStack) -> None:
    small.up(1)
    (pid,) = small.pids("chat-service")

    os.kill(pid, signal.SIGKILL)

    eventually_blocking(lambda: small.pids("chat-service") not in ([], [pid]))
    eventually_blocking(lambda: set(small.states().values()) == {"ready"})
    (row,) = (row for row in stack.status(small.home)["processes"] if row["name"] == "chat-service")
    assert row["restarts"] == 1


def test_what_was_stopped_stays_stopped_over_another_up_of_others(small: SmallStack) -> None:
    small.up(2)
    stack.act(small.home, "stop", "chat-service-2")

    assert small.states()["chat-service-2"] == "stopped"
    assert stack.act(small.home, "start", "chat-service-2") == {"ready": "chat-service-2"}


def test_every_process_is_recorded_for_the_next_supervisor(small: SmallStack) -> None:
    small.up(2)

    recorded = {entry.key: entry.pid for entry in load_state(small.home).processes}

    assert sorted(recorded.values()) == sorted(small.pids("chat-service") + small.pids("gateway"))


def test_of_two_supervisors_in_one_home_the_second_gives_up(small: SmallStack) -> None:
    with pytest.raises(AlreadyRunning):
        supervise(small.home)


def test_sigterm_stops_everything(small: SmallStack) -> None:
    small.up(1)
    pids = small.pids("chat-service") + small.pids("gateway")
    daemon = stack.daemon_pid(small.home)
    assert daemon is not None

    os.kill(daemon, signal.SIGTERM)

    eventually_blocking(lambda: not small.is_locked())
    assert not any(map(is_running, pids))
    with pytest.raises(NotRunning):
        stack.status(small.home)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_down_twice_is_told_apart(small: SmallStack) -> None:
    small.up(1)

    assert stack.down(small.home) is True
    assert stack.down(small.home) is False


def test_down_cleans_up_after_a_killed_supervisor(small: SmallStack) -> None:
    small.up(1)
    small.kill_supervisor()

    stack.down(small.home)

    assert load_state(small.home).processes == []
    assert not small.home.socket.exists()


def test_a_home_with_a_long_path_is_reached_over_loopback_with_a_token(tmp_path: Path) -> None:
    with SmallStack(tmp_path / ("deep" * 30) / "home") as small:
        small.up(1)
        control = load_state(small.home).control

        assert set(control) == {"port", "token"}
        assert set(small.states().values()) == {"ready"}
        assert refused_without_token(control["port"]) == b""


def refused_without_token(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as link:
        link.sendall(b'{"command": "down", "token": "guessed"}\n')
        return link.recv(100)


def test_nonsense_on_the_socket_is_dropped_and_the_next_command_is_taken(small: SmallStack) -> None:
    small.up(1)
    for said in (b"not json\n", b"\n", b"[]\n", b'{"command": "nonsense"}\n', b""):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(small.home.socket))
            link.sendall(said)

    assert set(small.states().values()) == {"ready"}


def test_without_a_supervisor_a_command_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path / "nobody")

    with pytest.raises(NotRunning, match="faq up"):
        list(ask(home, "status"))
    assert stack.is_running(home) is False
    assert stack.daemon_pid(home) is None
    assert stack.down(home) is False


def test_a_supervisor_that_does_not_start_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(stack.SupervisorFailed, match=r"supervisor\.log"):
        stack.ensure_daemon(home)


def test_a_supervisor_that_falls_silent_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.socket))
        listener.listen()

        with pytest.raises(stack.Refused, match="has said nothing"):
            list(asked(home))


def asked(home: Home) -> Iterator[dict[str, Any]]:
    return stack._asked(home, "status", timeout=0.2)
