"""A request as the gateway reads it: each header once, an id, an address, and what became of it for the log."""

import re
import time
from random import getrandbits

import uuid_utils
from starlette.types import Scope

from gateway.domain.addresses import ClientAddresses
from gateway.domain.rate_limits import Limit, Verdict
from gateway.domain.tokens import Claims
from gateway.routes.table import Route

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Incoming:
    """One request on its way through the gateway."""

    __slots__ = (
        "address",
        "began",
        "claims",
        "code",
        "headers",
        "method",
        "path",
        "query",
        "request_id",
        "route",
        "scope",
        "started",
        "status",
        "throttle",
    )

    def __init__(self, scope: Scope, addresses: ClientAddresses) -> None:
        self.began = time.perf_counter()
        self.scope = scope
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = scope["fields"]
        given = self.headers.get(b"x-request-id")
        self.request_id = given if given and REQUEST_ID.fullmatch(given) else str(uuid_utils.uuid7()).encode()
        client = scope["client"]
        self.address = addresses.of(client[0] if client else "", self.headers.get(b"x-forwarded-for"))
        self.route: Route | None = None
        self.claims: Claims | None = None
        self.throttle: tuple[Limit, Verdict] | None = None
        self.status = 0
        self.code: str | None = None
        self.started = False

    @property
    def traceparent(self) -> bytes:
        """The caller's trace context if it is valid, else the start of a new one that nobody samples."""
        given = self.headers.get(b"traceparent")
        if given and TRACEPARENT.fullmatch(given):
            return given
        return b"00-%032x-%016x-00" % (getrandbits(128) | 1, getrandbits(64) | 1)
