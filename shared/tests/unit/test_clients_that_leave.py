"""A client that hangs up half-way through its body is no failure of the service."""

from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from shared.edge import Edge
from shared.identity import IdentityVerifier
from shared.metrics import RequestMetrics
from shared.testing import KEY, identity_headers, somebody


async def reads_its_body(scope: Scope, receive: Receive, _send: Send) -> None:
    await Request(scope, receive).body()


async def test_a_client_that_leaves_is_one_line_of_information() -> None:
    identity, metrics = IdentityVerifier(KEY, "any-service"), RequestMetrics("any-service")
    edge = Edge(reads_its_body, operations={}, identity=identity, metrics=metrics, max_in_flight=8)
    headers = [(k.lower().encode(), v.encode()) for k, v in identity_headers("any-service", somebody()).items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/upload",
        "headers": headers,
        "query_string": b"",
    }
    coming = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    with structlog.testing.capture_logs() as logged:
        await edge(scope, receive, send)

    assert sent == []
    assert [line for line in logged if line["log_level"] != "info"] == []
