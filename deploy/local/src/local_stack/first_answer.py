"""After a start: the demo organization's account, and one question that proves the stack answers."""

import http.client
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from local_stack.home import Home, write_private

QUESTION = "What is Redis?"
EVERY = 0.3
REQUEST = 10.0
CREATED, CONFLICT, OK = 201, 409, 200


class NoFirstAnswer(RuntimeError):
    """The stack runs but does not answer; the message holds the last reply."""


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
    """Ask until the starter knowledge base answers; NoFirstAnswer after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        reply = call(base_url, "POST", "/chat/message", {"message": QUESTION, "session_id": "self-check"}, token)
        if reply.status == OK and reply.body.get("outcome") == "answered":
            return reply.body
        if time.monotonic() > end:
            raise NoFirstAnswer(f"{QUESTION!r} is not answered yet: {_brief(reply)}")
        time.sleep(EVERY)


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
    """The demo owner's address and password, chosen once."""
    if not home.credentials.exists():
        fresh = {"email": "demo@example.com", "password": secrets.token_urlsafe(18)}
        write_private(home.credentials, json.dumps(fresh))
    known = json.loads(home.credentials.read_text())
    return known["email"], known["password"]


def _brief(reply: Reply) -> str:
    return str(
        reply.body.get("detail") or reply.body.get("outcome") or reply.body.get("code") or f"status {reply.status}"
    )
