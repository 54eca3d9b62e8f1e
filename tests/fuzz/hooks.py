"""What the fuzz needs to know that no schema can say: who asks, and which values only the server can give."""

import os
import uuid
from typing import Any

import httpx2
import schemathesis

URL = os.environ["FUZZ_URL"]
PASSWORD = "Seven-Geese-Over-Riga"
EMAIL = f"fuzz-{uuid.uuid4().hex}@example.com"
ENDS_SESSION = "/auth/logout"


def _tokens(path: str, **more: str) -> str:
    reply = httpx2.post(URL + path, json={"email": EMAIL, "password": PASSWORD, **more}, timeout=20)
    return str(reply.raise_for_status().json()["access_token"])


_tokens("/auth/register", subscription_plan="enterprise")


@schemathesis.auth(refresh_interval=600)
class Owner:
    """The owner of an organization of this run alone; a request that ends its session gets one of its own."""

    def get(self, _case: Any, _context: Any) -> str:
        return _tokens("/auth/login")

    def set(self, case: Any, data: str, _context: Any) -> None:
        token = _tokens("/auth/login") if case.operation.path == ENDS_SESSION else data
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Valid requests get what only the server or chance can give.

    A cursor is good only when the list gave it, so lists begin at their beginning. The same key under another body is
    refused, as it should be, so each request has a key of its own.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query:
        case.query.pop("cursor", None)
    for name in list(case.headers or {}):
        if name.lower() == "idempotency-key":
            case.headers[name] = uuid.uuid4().hex
