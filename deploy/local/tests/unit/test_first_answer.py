"""The check after a start, against a small real server that says what it is told to say."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local_stack.first_answer import Greeting, NoFirstAnswer, Reply, call, first_answer, greet, lacks, log_in
from local_stack.home import Home

TOKENS = {"access_token": "a", "refresh_token": "r"}
ANSWERED: dict[str, Any] = {
    "outcome": "answered",
    "reply": "A store.\nIn memory.",
    "confidence": 0.93,
    "persisted": "durable",
    "degraded": [],
}
SHORT = 0.7
"""Seconds of patience where it runs out."""


class Gateway:
    """What it says to each operation: one answer after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, Any]]]] = {
            "GET /health": [(200, {"status": "ok"})],
            "POST /auth/login": [(200, TOKENS)],
            "POST /chat/message": [(200, ANSWERED)],
        }
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def says(self, operation: str, *answers: tuple[int, dict[str, Any]]) -> None:
        self.answers[operation] = list(answers)

    def bodies(self, operation: str) -> list[dict[str, Any]]:
        return [body for name, body in self.asked if name == operation]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            operation = f"{self.command} {self.path}"
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            made.asked.append((operation, json.loads(body or b"{}")))
            answers = made.answers.get(operation, [(404, {})])
            status, reply = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("outcome", ["answered", "no_answer", "clarify", "small_talk"])
def test_a_whole_reply_proves_that_it_works_whatever_the_organization_has_published(
    gateway: Gateway, home: Home, outcome: str
) -> None:
    gateway.says("POST /chat/message", (200, ANSWERED | {"outcome": outcome}))

    greeting = greet(home, gateway.url, [], SHORT)

    assert greeting.failure is None
    assert greeting.login is not None
    assert len(gateway.bodies("POST /chat/message")) == 1


def test_a_spent_quota_proves_it_too(gateway: Gateway, home: Home) -> None:
    gateway.says("POST /chat/message", (429, {"code": "quota_exceeded", "detail": "Used up."}))

    greeting = greet(home, gateway.url, [], SHORT)

    assert greeting.failure is None
    assert greeting.summary == "First reply: quota_exceeded"


@pytest.mark.parametrize(
    ("status", "body", "missing"),
    [
        (503, {"code": "capability_unavailable", "detail": "Away."}, "Away."),
        (429, {"code": "rate_limited"}, "rate_limited"),
        (0, {}, "status 0"),
        (200, ANSWERED | {"persisted": "deferred"}, "it is not kept durably yet"),
        (200, ANSWERED | {"degraded": ["knowledge", "quota"]}, "knowledge is degraded, quota is degraded"),
        (200, ANSWERED, ""),
    ],
)
def test_a_reply_that_lacks_something_proves_nothing(status: int, body: dict[str, Any], missing: str) -> None:
    assert lacks(Reply(status, body)) == missing


def test_it_is_asked_again_until_the_reply_is_whole(gateway: Gateway) -> None:
    deferred = ANSWERED | {"persisted": "deferred"}
    gateway.says("POST /chat/message", (503, {"detail": "Away."}), (200, deferred), (200, ANSWERED))

    assert first_answer(gateway.url, "token", 10) == ANSWERED


def test_a_check_that_fails_leaves_the_address_and_the_login_to_be_told(gateway: Gateway, home: Home) -> None:
    gateway.says("POST /chat/message", (503, {"detail": "Away."}))

    greeting = greet(home, gateway.url, [], SHORT)

    assert greeting.failure == "'What is Redis?' got no whole reply: Away."
    assert greeting.gateway == gateway.url
    assert greeting.login is not None
    assert greeting.as_json()["problems"] == [greeting.failure]


def test_what_was_known_to_be_missing_is_no_failure_of_the_check(gateway: Gateway, home: Home) -> None:
    gateway.says("POST /chat/message", (503, {"detail": "Away."}))

    greeting = greet(home, gateway.url, ["cassandra is not ready"], SHORT)

    assert greeting.failure is None
    assert greeting.problems[0] == "cassandra is not ready"
    assert "Away." in greeting.problems[1]


def test_where_nobody_can_log_in_the_address_is_told_all_the_same(home: Home) -> None:
    greeting = greet(home, "http://127.0.0.1:9", [], SHORT)

    assert greeting.login is None
    assert greeting.failure is not None
    assert greeting.failure.startswith("Nobody can log in yet")


def test_the_demo_owner_is_registered_once_with_a_password_of_this_home(gateway: Gateway, home: Home) -> None:
    gateway.says("POST /auth/login", (401, {}), (200, TOKENS))
    gateway.says("POST /auth/register", (201, TOKENS))

    first, second = log_in(home, gateway.url, 5), log_in(home, gateway.url, 5)

    assert first == second
    assert first.email == "demo@example.com"
    assert len(gateway.bodies("POST /auth/register")) == 1
    assert home.credentials.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"email": "demo@example.com"}'])
def test_credentials_that_cannot_be_read_are_made_anew(gateway: Gateway, home: Home, text: str) -> None:
    home.create()
    home.credentials.write_text(text)

    login = log_in(home, gateway.url, 5)

    assert json.loads(home.credentials.read_text()) == {"email": login.email, "password": login.password}


def test_an_address_that_another_home_has_taken_is_replaced(gateway: Gateway, home: Home) -> None:
    gateway.says("POST /auth/login", (401, {}))
    gateway.says("POST /auth/register", (409, {}), (201, TOKENS))

    login = log_in(home, gateway.url, 5)

    assert login.email != "demo@example.com"
    assert json.loads(home.credentials.read_text())["email"] == login.email


def test_logging_in_is_tried_until_patience_is_over(gateway: Gateway, home: Home) -> None:
    gateway.says("POST /auth/login", (503, {"detail": "Accounts are away."}))

    with pytest.raises(NoFirstAnswer, match="Accounts are away"):
        log_in(home, gateway.url, SHORT)

    assert len(gateway.bodies("POST /auth/login")) > 1


def test_health_that_is_not_whole_in_time_is_shown_as_it_is(gateway: Gateway, home: Home) -> None:
    gateway.says("GET /health", (200, {"status": "degraded", "capabilities": {"tasks": "unavailable"}}))

    assert greet(home, gateway.url, [], SHORT).health["status"] == "degraded"


def test_a_server_that_speaks_no_json_is_a_reply_without_a_body(gateway: Gateway) -> None:
    assert call(gateway.url, "GET", "/nothing") == Reply(404, {})
    assert call("http://127.0.0.1:9", "GET", "/").status == 0


def test_an_answer_is_summed_up_in_a_line() -> None:
    greeting = Greeting("http://g", (), None, None, ANSWERED, {})

    assert greeting.summary == "First answer, 93% sure: A store."
    assert Greeting("http://g", (), None, None, None, {}).summary == ""
