"""A request as the gateway reads it: each header once, an id, an address, and what became of it for the log."""

import re
import time
from random import getrandbits

import uuid_utils
from starlette.types import Scope

from gateway.domain.addresses import ClientAddresses
from gateway.domain.admission import Ticket
from gateway.domain.rate_limits import Limit, Verdict
from gateway.domain.tokens import Claims
from gateway.routes.table import Route

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Incoming:
    """One request on its way through the gateway.

    `known`: whose it seems to be; `claims`: whose it is, verified. `ticket`: its place among the admitted; `measures`:
    the operation whose latency its duration tells, if it tells any.
    """

    __slots__ = (
        "address",
        "began",
        "claims",
        "code",
        "headers",
        "known",
        "measures",
        "method",
        "path",
        "query",
        "request_id",
        "route",
        "scope",
        "started",
        "status",
        "throttle",
        "ticket",
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
        self.address = addresses.of(
            client[0] if client else "", self.headers.get(b"x-forwarded-for"), self.headers.get(b"forwarded")
        )
        self.route: Route | None = None
        self.known: Claims | None = None
        self.claims: Claims | None = None
        self.ticket: Ticket | None = None
        self.measures: str | None = None
        self.throttle: tuple[Limit, Verdict] | None = None
        self.status = 0
        self.code: str | None = None
        self.started = False

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has left, or had to wait and sends no more: nobody will read the answer."""
        peer, ticket = self.scope.get("peer"), self.ticket
        if peer is None:
            return False
        return bool(peer.is_gone or (peer.is_leaving and ticket is not None and ticket.has_waited))

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is there."""
        return bool(self.scope.get("is_whole"))

    @property
    def traceparent(self) -> bytes:
        """The caller's trace context if it is valid, else the start of a new one that nobody samples."""
        given = self.headers.get(b"traceparent")
        if given and TRACEPARENT.fullmatch(given):
            return given
        return b"00-%032x-%016x-00" % (getrandbits(128) | 1, getrandbits(64) | 1)
