"""Ports: free, below the range of outgoing connections, and the same again next time."""

import os
import socket

import pytest

from local_stack.ports import assign_ports, family_of, free_port, holder_of, is_free, obstacle, reachable


def test_a_port_somebody_listens_on_is_not_free_and_its_holder_has_a_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert not is_free(port)
        assert f"(pid {os.getpid()})" in (holder_of(port) or "")

    assert is_free(port)


def test_ports_are_kept_between_runs_and_shift_only_when_taken() -> None:
    first = assign_ports(["a", "b"], {})
    with socket.create_server(("127.0.0.1", first["a"])):
        second = assign_ports(["a", "b"], first)

    assert second["b"] == first["b"]
    assert second["a"] != first["a"]


def test_ports_stay_below_the_range_of_outgoing_connections() -> None:
    given = assign_ports([str(number) for number in range(50)], {})

    assert len(set(given.values())) == 50
    assert max(given.values()) < 32_768
    assert free_port(given.values()) not in given.values()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def test_why_a_port_cannot_be_had_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert obstacle(port) == f"port {port} is taken by {holder_of(port)}"

    assert obstacle(port) is None
    assert obstacle(port, "192.0.2.1") == "192.0.2.1 is no address of this machine"


@ipv6
def test_a_port_taken_on_one_address_is_free_on_another() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]

        assert not is_free(port, ("::1",))
        assert is_free(port, ("127.0.0.1",))
        assert not is_free(port, ("127.0.0.1", "::1"))


HOSTS = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1", "::1": "[::1]", "10.0.0.7": "10.0.0.7"}


@pytest.mark.parametrize(("host", "expected"), HOSTS.items())
def test_what_listens_somewhere_is_found_from_this_machine(host: str, expected: str) -> None:
    assert reachable(host) == expected
    assert family_of(host) == (socket.AF_INET6 if ":" in host else socket.AF_INET)


def test_a_port_that_two_names_remember_is_given_once() -> None:
    port = free_port()

    given = assign_ports(["a", "b"], {"a": port, "b": port})

    assert given["a"] == port
    assert given["b"] != port


def test_a_port_has_to_be_free_on_every_address() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.2", port)):
        given = assign_ports(["native"], {"native": port}, ("127.0.0.1", "127.0.0.2"))

    assert given["native"] != port
