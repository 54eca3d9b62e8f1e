"""Process specs, and what counts as ready."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_stack.process import Launch
from local_stack.specs import one_shot_spec, service_answers, service_spec, worker_spec

LAUNCH = Launch(name="chat-service", replica=2, argv=("python",), log=Path("log"))


@contextmanager
def says(reply: bytes) -> Iterator[int]:
    """A port that answers one connection with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(1000)
                link.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("reply", "is_ready"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"", False),
        (b"SSH-2.0-x\r\n", False),
    ],
)
def test_a_service_is_ready_when_it_says_200(reply: bytes, is_ready: bool) -> None:
    with says(reply) as port:
        assert service_answers("127.0.0.1", port) is is_ready


def test_nobody_is_not_ready() -> None:
    assert not service_answers("127.0.0.1", 9)


def test_a_replica_is_named_by_its_number_but_the_first() -> None:
    assert service_spec(LAUNCH, "http://127.0.0.1:1", frozenset()).key == LAUNCH.key == "chat-service-2"
    assert one_shot_spec(Launch(name="seed", argv=(), log=Path("log")), frozenset(), "x").key == "seed"


def test_a_worker_is_ready_as_soon_as_it_runs_and_a_one_shot_when_it_has_ended() -> None:
    assert worker_spec(LAUNCH, frozenset()).answers()
    assert not one_shot_spec(LAUNCH, frozenset(), "").answers()


def test_a_service_with_an_ipv6_address_is_asked_there() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        spec = service_spec(LAUNCH, f"http://[::1]:{listener.getsockname()[1]}", frozenset())
        thread = threading.Thread(target=lambda: answer(listener))
        thread.start()

        assert spec.answers()

        thread.join()


def answer(listener: socket.socket) -> None:
    link, _ = listener.accept()
    with link:
        link.recv(1000)
        link.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def test_two_launches_that_differ_in_anything_are_another_process() -> None:
    changed = Launch(name="chat-service", replica=2, argv=("python",), log=Path("log"), environment={"A": "1"})

    first, second = (service_spec(launch, "http://h:1", frozenset()) for launch in (LAUNCH, changed))
    assert first.fingerprint != second.fingerprint
