import socket

import pytest

from local_stack.listeners import Listeners
from local_stack.ports import free_port, is_free


@pytest.fixture
def address() -> tuple[str, int]:
    return "127.0.0.1", free_port()


def test_replicas_of_one_address_share_its_socket(address: tuple[str, int]) -> None:
    listeners = Listeners()

    first = listeners.hold(address, "gateway")
    second = listeners.hold(address, "gateway-2")

    assert first is second
    assert first.get_inheritable()
    listeners.release("gateway")
    socket.create_connection(address, timeout=1).close()
    listeners.release("gateway-2")
    assert is_free(address[1])


def test_an_address_somebody_else_listens_on_is_refused(address: tuple[str, int]) -> None:
    with socket.create_server(address), pytest.raises(OSError, match="in use"):
        Listeners().hold(address, "gateway")


def test_releasing_what_was_never_held_changes_nothing(address: tuple[str, int]) -> None:
    listeners = Listeners()
    listeners.hold(address, "gateway")

    listeners.release("chat-service")

    socket.create_connection(address, timeout=1).close()
    listeners.release("gateway")


@pytest.mark.parametrize(("host", "also"), [("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")])
def test_an_ipv6_address_is_held_too_and_all_of_them_take_ipv4_as_well(host: str, also: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    listeners, port = Listeners(), free_port()

    listeners.hold((host, port), "gateway")

    socket.create_connection((also, port), timeout=1).close()
    listeners.release("gateway")
