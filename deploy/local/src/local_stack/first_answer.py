"""After a start: the demo organization's account, and one question whose reply proves that every part works.

What the reply says is the organization's business: it may have published anything, taken everything back, or spent its
quota. A reply that is kept durably and lacks nothing has passed gateway, accounts, chat, knowledge and their engines.
"""

import http.client
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from local_stack.home import Home, write_private

HEALING = 45.0  # seconds for a whole stack to answer and to call itself well
LOST = 10.0  # seconds for one that is known to lack something: what it can do, it does by then
QUESTION = "What is Redis?"
EVERY = 0.3
REQUEST = 10.0
CREATED, CONFLICT, OK = 201, 409, 200


class NoFirstAnswer(RuntimeError):
    """The stack runs but does not answer as it should; the message says what was missing at last."""


@dataclass(frozen=True, slots=True)
class Login:
    """The demo owner, logged in."""

    email: str
    password: str
    access_token: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply; status 0 when none came."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What somebody who has started the stack needs to know."""

    gateway: str
    problems: tuple[str, ...]
    failure: str | None
    """What the check found, where nothing was known to be missing."""
    login: Login | None
    answer: dict[str, Any] | None
    health: dict[str, Any]

    @property
    def summary(self) -> str:
        """The reply to the first question in a line; empty without one."""
        if self.answer is None:
            return ""
        if self.answer.get("outcome") != "answered":
            return f"First reply: {self.answer.get('outcome') or self.answer.get('code')}"
        return f"First answer, {self.answer['confidence']:.0%} sure: {self.answer['reply'].splitlines()[0]}"

    def as_json(self) -> dict[str, Any]:
        """For programs; the password stays in `credentials.json`."""
        return {
            "gateway": self.gateway,
            "email": self.login.email if self.login else None,
            "answer": self.answer,
            "problems": [*self.problems, *([self.failure] if self.failure else [])],
        }


def greet(home: Home, gateway: str, problems: Sequence[str], healing: float = HEALING) -> Greeting:
    """Log in and ask the first question. A check that fails is told; the stack runs all the same."""
    patience = min(LOST, healing) if problems else healing
    login, answer, failure = None, None, None
    try:
        login = log_in(home, gateway, patience)
        answer = first_answer(gateway, login.access_token, patience)
    except NoFirstAnswer as error:
        failure = str(error)
    health = wait_until_whole(gateway, 0.0 if problems or failure else healing)
    if problems and failure:  # no news: it lacks what is known to be missing
        return Greeting(gateway, (*problems, failure), None, login, answer, health)
    return Greeting(gateway, tuple(problems), failure, login, answer, health)


def log_in(home: Home, base_url: str, patience: float) -> Login:
    """Log the demo owner in, registered first where it is not known; NoFirstAnswer after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        email, password = _credentials(home)
        reply = call(base_url, "POST", "/auth/login", {"email": email, "password": password})
        if reply.status == 401:  # noqa: PLR2004 - not registered yet, or another database than before
            reply = _register(home, base_url, email, password)
            email, password = _credentials(home)
        if reply.status in {OK, CREATED}:
            return Login(email, password, reply.body["access_token"], reply.body["refresh_token"])
        if time.monotonic() > end:
            raise NoFirstAnswer(f"Nobody can log in yet: {_brief(reply)}")
        time.sleep(EVERY)


def first_answer(base_url: str, token: str, patience: float) -> dict[str, Any]:
    """Ask until a reply lacks nothing, whatever it says; NoFirstAnswer after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        reply = call(base_url, "POST", "/chat/message", {"message": QUESTION, "session_id": "self-check"}, token)
        if lacks(reply) == "":
            return reply.body
        if time.monotonic() > end:
            raise NoFirstAnswer(f"{QUESTION!r} got no whole reply: {lacks(reply)}")
        time.sleep(EVERY)


def lacks(reply: Reply) -> str:
    """What is missing for the reply to prove that everything works; empty when nothing is."""
    if reply.body.get("code") == "quota_exceeded":  # only a stack that works counts
        return ""
    if reply.status != OK:
        return _brief(reply)
    if reply.body.get("persisted") != "durable":
        return "it is not kept durably yet"
    return ", ".join(f"{capability} is degraded" for capability in reply.body.get("degraded", []))


def wait_until_whole(base_url: str, patience: float) -> dict[str, Any]:
    """The gateway's health once it is `ok`, else the last one when the patience (in seconds) is over."""
    end = time.monotonic() + patience
    while True:
        health = call(base_url, "GET", "/health").body
        if health.get("status") == "ok" or time.monotonic() > end:
            return health
        time.sleep(EVERY)


def call(base_url: str, method: str, path: str, body: object = None, token: str | None = None) -> Reply:
    """One request on a connection of its own."""
    where = urlsplit(base_url)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    link = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=REQUEST)
    try:
        link.request(method, path, json.dumps(body) if body is not None else None, headers)
        reply = link.getresponse()
        parsed = json.loads(reply.read() or b"{}")
        return Reply(reply.status, parsed if isinstance(parsed, dict) else {})
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Reply(0, {"detail": repr(error)})
    finally:
        link.close()


def _register(home: Home, base_url: str, email: str, password: str) -> Reply:
    reply = _try_register(base_url, email, password)
    if reply.status == CONFLICT:  # the address belongs to another home on the same database
        email = f"demo-{secrets.token_hex(4)}@example.com"
        write_private(home.credentials, json.dumps({"email": email, "password": password}))
        reply = _try_register(base_url, email, password)
    return reply


def _try_register(base_url: str, email: str, password: str) -> Reply:
    body = {"email": email, "password": password, "subscription_plan": "enterprise", "organization": "Demo"}
    return call(base_url, "POST", "/auth/register", body)


def _credentials(home: Home) -> tuple[str, str]:
    """The demo owner's address and password, chosen once; anew where the file cannot be read."""
    try:
        known = json.loads(home.credentials.read_text())
        return str(known["email"]), str(known["password"])
    except (OSError, ValueError, KeyError, TypeError):
        email, password = "demo@example.com", secrets.token_urlsafe(18)
        write_private(home.credentials, json.dumps({"email": email, "password": password}))
        return email, password


def _brief(reply: Reply) -> str:
    return str(reply.body.get("detail") or reply.body.get("code") or f"status {reply.status}")
