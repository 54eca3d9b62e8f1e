"""Ports: free, below the range of outgoing connections, and the same again next time."""

import os
import socket

from local_stack.ports import assign_ports, free_port, holder_of, is_free


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
