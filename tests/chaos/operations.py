"""One request for each operation of the degradation table, and what came back."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx2

PASSWORD = "SecurePass123!"
SLOWEST = 6.0
"""Seconds that any reply may take, whatever is away."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account, a session and a task from before the outage."""

    email: str
    token: str
    refresh_token: str
    session: str
    message_id: str
    task_id: str


class Product:
    """The public API as one client sees it, until `close` or the end of its `with`."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=15)

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def send(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> httpx2.Response:
        """One request; a 429 for going too fast is waited out."""
        head = {"Authorization": f"Bearer {token}"} if token else {}
        while True:
            reply = self._http.request(method, path, json=body, headers=head | headers)
            if reply.status_code != 429 or reply.json().get("code") != "rate_limited":
                return reply
            time.sleep(float(reply.headers["retry-after"]))

    def newcomer(self, plan: str = "enterprise") -> User:
        """Register, ask once and submit a task."""
        email = f"chaos-{uuid.uuid4().hex[:12]}@example.com"
        made = self.send("POST", "/auth/register", {"email": email, "password": PASSWORD, "subscription_plan": plan})
        tokens = made.raise_for_status().json()
        token, session = tokens["access_token"], f"s-{uuid.uuid4().hex[:8]}"
        first = self.send("POST", "/chat/message", {"message": "What is Redis?", "session_id": session}, token)
        task = self.send("POST", "/tasks/analyze", {"description": "volume by day"}, token)
        return User(
            email,
            token,
            tokens["refresh_token"],
            session,
            first.raise_for_status().json()["message_id"],
            task.raise_for_status().json()["task_id"],
        )

    def history(self, user: User, session: str) -> list[dict[str, Any]]:
        """Every message of a session, oldest first; none of a session that is not known."""
        messages: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/chat/history/{session}?limit=100{cursor}"
            reply = self.send("GET", path, token=user.token)
            if reply.status_code == httpx2.codes.NOT_FOUND:
                return []
            page = reply.raise_for_status().json()
            messages = page["messages"] + messages
            if page["next_cursor"] is None:
                return messages
            cursor = f"&cursor={page['next_cursor']}"

    def health(self) -> dict[str, Any]:
        """What /health says."""
        return dict(self.send("GET", "/health").json())


Operation = Callable[[Product, User], httpx2.Response]


def _register(product: Product, _user: User) -> httpx2.Response:
    email = f"chaos-{uuid.uuid4().hex[:12]}@example.com"
    return product.send("POST", "/auth/register", {"email": email, "password": PASSWORD})


def _article(product: Product, user: User) -> httpx2.Response:
    body = {"question": f"Who wrote {uuid.uuid4().hex}?", "alternatives": [], "answer": "A test.", "tags": []}
    return product.send("POST", "/knowledge/articles", body, user.token)


def _feedback(product: Product, user: User) -> httpx2.Response:
    path = f"/chat/sessions/{user.session}/messages/{user.message_id}/feedback"
    return product.send("PUT", path, {"rating": "up"}, user.token)


OPERATIONS: Mapping[str, Operation] = {
    "register": _register,
    "refresh": lambda p, u: p.send("POST", "/auth/refresh", {"refresh_token": u.refresh_token}),
    "billing_usage": lambda p, u: p.send("GET", "/billing/usage", token=u.token),
    "login": lambda p, u: p.send("POST", "/auth/login", {"email": u.email, "password": PASSWORD}),
    "bearer_check": lambda p, u: p.send("GET", "/knowledge/search?q=redis", token=u.token),
    "send_message": lambda p, u: p.send(
        "POST", "/chat/message", {"message": "What is Redis?", "session_id": u.session}, u.token
    ),
    "history": lambda p, u: p.send("GET", f"/chat/history/{u.session}", token=u.token),
    "sessions": lambda p, u: p.send("GET", "/chat/sessions", token=u.token),
    "feedback": _feedback,
    "knowledge_search": lambda p, u: p.send("GET", "/knowledge/search?q=cache", token=u.token),
    "knowledge_edit": _article,
    "knowledge_publish": lambda p, u: p.send("POST", "/knowledge/publish", token=u.token),
    "submit_task": lambda p, u: p.send("POST", "/tasks/analyze", {"description": "volume by day"}, u.token),
    "task_status": lambda p, u: p.send("GET", f"/tasks/{u.task_id}/status", token=u.token),
    "notifications": lambda p, u: p.send("GET", "/notifications", token=u.token),
    "health": lambda p, _u: p.send("GET", "/health"),
}
