"""What `faq doctor` finds, told truthfully."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from local_stack import doctor
from local_stack.desired import DesiredState
from local_stack.doctor import Finding, examine
from local_stack.home import Home
from local_stack.ports import free_port
from local_stack.testing import SmallStack


def findings(home: Home, **desired: object) -> dict[str, Finding]:
    made = DesiredState(**desired)  # type: ignore[arg-type] # the keywords of DesiredState
    return {finding.name: finding for finding in examine(home, made)}


@contextmanager
def health(body: object) -> Iterator[str]:
    """A gateway whose health is this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_each_thing_the_stack_needs_is_looked_at_in_the_order_of_a_start(tmp_path: Path) -> None:
    found = findings(Home(tmp_path / "home"), gateway_port=free_port())

    engines = ["postgresql", "redis-cache", "redis-data", "cassandra"]
    assert list(found) == ["python", "memory", "disk", *engines, "gateway"]


def test_the_gateways_port_is_looked_at_on_its_own_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        elsewhere = findings(Home(tmp_path), gateway_port=port)["gateway"]
        there = findings(Home(tmp_path), gateway_port=port, settings={"GATEWAY_HOST": "127.0.0.2"})["gateway"]

    assert (elsewhere.is_fine, elsewhere.detail) == (True, f"port {port} is free on 127.0.0.1")
    assert there.is_fine is False
    assert there.detail.startswith(f"port {port} is taken by ")
    assert f"GATEWAY_PORT={port + 1}" in there.fix


def test_an_address_that_this_machine_does_not_have_is_not_called_taken(tmp_path: Path) -> None:
    found = findings(Home(tmp_path), settings={"GATEWAY_HOST": "192.0.2.1"})["gateway"]

    assert (found.is_fine, found.detail) == (False, "192.0.2.1 is no address of this machine")


def test_a_server_on_ipv6_that_localhost_would_lead_to_is_named(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        found = findings(Home(tmp_path), gateway_port=port)

    assert found["gateway"].is_fine
    assert not found["localhost"].is_fine
    assert f"http://localhost:{port} may lead there" in found["localhost"].detail


def test_an_engine_of_the_users_is_named_without_its_password(tmp_path: Path) -> None:
    settings = {"REDIS_DATA_URL": "redis://:secret@data:6379/0", "SCYLLA_HOST": "a,b"}

    found = findings(Home(tmp_path), settings=settings)

    assert found["redis-data"].detail == "yours, redis://data:6379/0"
    assert found["cassandra"].detail == "yours, cql://a,b:9042"


def test_jars_that_are_missing_are_counted_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIDB_CACHE", str(tmp_path / "empty"))

    found = findings(Home(tmp_path))["cassandra"]

    assert not found.is_fine
    assert "are not fetched yet" in found.detail
    assert "SCYLLA_HOST" in found.fix


def test_a_full_disk_and_too_little_memory_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED", 1 << 62)
    monkeypatch.setattr(doctor, "MEMORY_NEEDED", 1 << 62)

    found = findings(Home(tmp_path))

    assert (found["disk"].is_fine, found["memory"].is_fine) == (False, False)


def test_of_a_running_stack_every_process_is_told(tmp_path: Path) -> None:
    with SmallStack(tmp_path / "home") as small:
        small.up(2)

        found = findings(small.home, gateway_port=small.port)

    assert [found[name].detail for name in ("gateway", "chat-service", "chat-service-2")] == ["ready"] * 3
    assert "clocks" not in found


@pytest.mark.parametrize(
    ("skews", "is_fine", "detail"),
    [
        ((12, -3), True, "12 ms ahead of its engine at most (a)"),
        ((12, -90_000), False, "90000 ms behind its engine at most (b)"),
        ((None, 5), True, "5 ms ahead of its engine at most (b)"),
    ],
)
def test_the_clock_that_is_off_most_is_told(skews: tuple[int | None, int | None], is_fine: bool, detail: str) -> None:
    said = {name: {"status": "ok", "clock_skew_ms": skew} for name, skew in zip("ab", skews, strict=True)}
    with health({"status": "ok", "services": said}) as gateway:
        (found,) = doctor._clocks(gateway)

    assert (found.name, found.is_fine, found.detail) == ("clocks", is_fine, detail)


@pytest.mark.parametrize("said", [{}, {"services": {"a": {"status": "ok"}}}, {"services": {"a": "ok"}}, ["odd"], 3])
def test_where_no_service_knows_nothing_is_said_of_clocks(said: object) -> None:
    with health(said) as gateway:
        assert list(doctor._clocks(gateway)) == []


def test_a_gateway_that_does_not_answer_knows_no_clocks() -> None:
    assert doctor.skews_at("http://127.0.0.1:9") == {}
