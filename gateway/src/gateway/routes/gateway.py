"""The hot path: one pure ASGI application that lets a request in, passes it on and sends the reply back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog
import uuid_utils
from starlette.types import Message, Receive, Scope, Send

from gateway.domain.addresses import ClientAddresses, limit_key
from gateway.domain.admission import Kind
from gateway.domain.forwarding import Header, Reply, Request, Upstream
from gateway.domain.rate_limits import PLANS, Limit
from gateway.domain.throttle import RateLimits
from gateway.domain.tokens import Claims, Tokens
from gateway.routes.access_log import AccessLog
from gateway.routes.bodies import check_body, too_large
from gateway.routes.entrance import Entrance
from gateway.routes.incoming import Incoming
from gateway.routes.table import MEBIBYTE, Match, Route, RouteTable
from gateway.routes.variants import Variants, is_known, takes_gzip
from shared.deadlines import WHOLE_REQUEST
from shared.errors import (
    DeadlineExceeded,
    InternalError,
    Overloaded,
    RateLimited,
    ServiceError,
    Unauthenticated,
)
from shared.identity import IdentitySigner
from shared.metrics import RequestMetrics
from shared.problems import document, headers_of

log = structlog.get_logger()


PASSED_ON = (
    b"accept",
    b"accept-language",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"if-none-match",
    b"last-event-id",
    b"tracestate",
    b"user-agent",
)
"""Of what a client sends only this reaches a service: identity, forwarding and connection headers cannot slip by."""

NOT_RETURNED = frozenset(
    {
        b"cache-control",
        b"connection",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-internal-identity",
        b"x-request-id",
    }
)
SECURITY = (
    b"x-content-type-options: nosniff\r\nx-frame-options: DENY\r\nreferrer-policy: no-referrer\r\n"
    b"cross-origin-resource-policy: same-origin\r\nx-request-id: %b\r\n"
)
"""Lines on every reply."""
PRIVATE = (
    SECURITY + b"cache-control: no-store\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
)
"""Lines on every reply that is neither a page of ours nor a public document."""
NO_STORE: Header = (b"cache-control", b"no-store")
NO_CONTENT: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
UPLOAD = 30.0
"""Seconds that a streamed upload may take on top of its route's deadline."""
WATCH_EVERY = 5.0
SILENT_STREAM = 60.0
"""Seconds without a byte after which a stream is given up; services send a heartbeat every 15 s."""


class ClientGone(Exception):
    """The client left before its request was complete; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Page:
    """A reply of the gateway's own; one with `variants` is sent compressed to whoever takes that."""

    body: bytes
    content_type: bytes = b"application/json"
    status: int = 200
    headers: tuple[Header, ...] = (NO_STORE, NO_CONTENT)
    variants: Variants | None = None


OwnPage = Callable[[Incoming], Awaitable[Page]]


class Gateway:
    """Lets requests in. Belongs to one event loop."""

    def __init__(
        self,
        *,
        table: RouteTable,
        pages: Mapping[str, OwnPage],
        upstreams: Mapping[str, Upstream],
        tokens: Tokens,
        limits: RateLimits,
        anonymous: Limit,
        addresses: ClientAddresses,
        signer: IdentitySigner,
        metrics: RequestMetrics,
        access_log: AccessLog,
        entrance: Entrance,
    ) -> None:
        self._table = table
        self._pages = pages
        self._upstreams = upstreams
        self._tokens = tokens
        self._limits = limits
        self._anonymous = anonymous
        self._addresses = addresses
        self._signer = signer
        self._metrics = metrics
        self._access_log = access_log
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever goes wrong becomes a problem document here, the outermost place there is."""
        incoming = Incoming(scope, self._addresses)
        try:
            await self._serve(incoming, receive, send)
        except ServiceError as error:
            await self._problem(incoming, send, error)
        except ClientGone:
            incoming.code = "client_gone"
        except Exception as error:
            log.error("request_failed", error=repr(error), exc_info=error)
            await self._problem(incoming, send, InternalError())
        finally:
            self._access_log.record(incoming, self._metrics)

    async def _serve(self, incoming: Incoming, receive: Receive, send: Send) -> None:
        refusal: ServiceError | None = incoming.scope.get("refusal")
        if refusal is not None:
            raise refusal
        match = self._table.match(incoming.method, incoming.path)
        incoming.route = match.route
        if match.route.service is None:
            await self._own(incoming, match.route, send)
        else:
            await self._pass_on(incoming, match, receive, send)

    async def _own(self, incoming: Incoming, route: Route, send: Send) -> None:
        page = await self._pages[route.operation](incoming)
        if page.variants is not None:
            page = _chosen(page, page.variants, incoming)
        headers = [(b"content-type", page.content_type), *page.headers]
        if page.status != HTTPStatus.NOT_MODIFIED:
            headers.append((b"content-length", b"%d" % len(page.body)))
        await self._answer(incoming, send, page.status, headers, page.body, SECURITY)

    async def _pass_on(self, incoming: Incoming, match: Match, receive: Receive, send: Send) -> None:
        """Nothing is read, verified or sent before the request is admitted, but for what is known by heart."""
        route = match.route
        framing = check_body(incoming.headers, route)
        await self._recognize(incoming, route)
        await self._enter(incoming, route)
        try:
            await self._identify(incoming, route)
            body: bytes | AsyncIterator[bytes] = b""
            if framing is not None:
                is_upload = route.max_body > MEBIBYTE
                body = _chunks(receive, route) if is_upload else await self._body(incoming, route, receive)
            request = self._request(incoming, match, body)
            reply = await self._send(incoming, route, request)
        finally:
            self._leave(incoming)
        await self._relay(incoming, reply, receive, send)

    async def _recognize(self, incoming: Incoming, route: Route) -> None:
        """Whose request this is, as far as that costs nothing; who asks too often is told so first of all."""
        if route.access == "public":
            await self._throttle(incoming, limit_key(incoming.address), self._anonymous)
            return
        incoming.known = self._tokens.remembered(incoming.headers.get(b"authorization"))
        if incoming.known is not None:
            await self._throttle_user(incoming, incoming.known)

    async def _identify(self, incoming: Incoming, route: Route) -> None:
        if route.access == "public":
            return
        incoming.claims = await self._verify(incoming)
        if incoming.known is None:
            incoming.known = incoming.claims
            await self._throttle_user(incoming, incoming.claims)

    async def _enter(self, incoming: Incoming, route: Route) -> None:
        """Wait for the turn, at most 50 ms; a client that left meanwhile is not worked for."""
        kind = _kind(route, incoming.known)
        if kind is None:
            return
        who = incoming.known.principal.organization_id if incoming.known else limit_key(incoming.address)
        incoming.ticket = await self._entrance.enter(kind, who)
        if incoming.is_abandoned:
            self._leave(incoming)
            raise Overloaded

    def _leave(self, incoming: Incoming) -> None:
        ticket, incoming.ticket = incoming.ticket, None
        if ticket is not None:
            self._entrance.leave(ticket, operation=incoming.measures)

    async def _body(self, incoming: Incoming, route: Route, receive: Receive) -> bytes:
        """The whole body; who sends it slowly does so at its own cost, and is admitted again once it is there."""
        if incoming.is_whole:
            return await _read_body(receive, route)
        self._leave(incoming)
        body = await _read_body(receive, route)
        await self._enter(incoming, route)
        return body

    def _request(self, incoming: Incoming, match: Match, body: bytes | AsyncIterator[bytes]) -> Request:
        route = match.route
        assert route.service is not None  # noqa: S101 - _serve chose by this
        is_streamed = not isinstance(body, bytes)
        seconds = route.deadline.total_seconds()
        head = [
            b"x-internal-identity: ",
            self._signer.sign(route.service, incoming.claims.principal if incoming.claims else None),
            b"\r\nx-request-id: ",
            incoming.request_id,
            b"\r\ntraceparent: ",
            incoming.traceparent,
            b"\r\nx-deadline-ms: %d\r\nx-client-address: " % (seconds * 1000),
            incoming.address.encode("latin-1"),
            b"\r\n",
        ]
        headers = incoming.headers
        for name in PASSED_ON:
            if name in headers:
                head += (name, b": ", headers[name], b"\r\n")
        if route.retry_key:
            head += (b"x-retry-key: ", str(uuid_utils.uuid7()).encode(), b"\r\n")
        if not isinstance(body, bytes):
            head.append(b"transfer-encoding: chunked\r\n")
        elif body or route.method not in ("GET", "DELETE"):
            head.append(b"content-length: %d\r\n" % len(body))
        return Request(
            route.method,
            match.path + b"?" + incoming.query if incoming.query else match.path,
            b"".join(head),
            seconds + UPLOAD if is_streamed else seconds,
            body,
            repeatable=route.retry_key or incoming.method in IDEMPOTENT or b"idempotency-key" in headers,
        )

    async def _send(self, incoming: Incoming, route: Route, request: Request) -> Reply:
        """The service's reply. How long it took tells how busy we are, but for long work and for failures at once."""
        try:
            reply = await self._upstreams[route.service or ""].send(request)
        except DeadlineExceeded:
            incoming.measures = route.operation
            raise
        if route.deadline == WHOLE_REQUEST and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            incoming.measures = route.operation
        return reply

    async def _verify(self, incoming: Incoming) -> Claims:
        """Failed attempts count against their address, so that guessing is slow."""
        try:
            return await self._tokens.verify(incoming.headers.get(b"authorization"))
        except Unauthenticated:
            await self._throttle(incoming, limit_key(incoming.address), self._anonymous)
            raise

    async def _throttle_user(self, incoming: Incoming, claims: Claims) -> None:
        principal = claims.principal
        await self._throttle(incoming, principal.user_id, PLANS.get(principal.plan) or PLANS["free"])

    async def _throttle(self, incoming: Incoming, key: str, limit: Limit) -> None:
        verdict = self._limits.admit_now(key, limit) or await self._limits.admit(key, limit)
        incoming.throttle = (limit, verdict)
        if not verdict.allowed:
            raise RateLimited(retry_after=verdict.retry_after)

    async def _relay(self, incoming: Incoming, reply: Reply, receive: Receive, send: Send) -> None:
        lines = PRIVATE
        headers = [header for header in reply.headers if header[0] not in NOT_RETURNED]
        if incoming.claims is None and incoming.method in ("GET", "HEAD") and (kept := _public_caching(reply)):
            lines = SECURITY
            headers += (kept, NO_CONTENT)
        try:
            if reply.complete or incoming.method == "HEAD":
                body = reply.body if reply.complete else b""
                if not reply.is_sized and reply.status not in BODILESS:
                    headers.append((b"content-length", b"%d" % len(body)))
                await self._answer(incoming, send, reply.status, headers, body, lines)
            elif reply.is_event_stream:
                await self._relay_stream(incoming, reply, headers, receive, send)
            else:
                await self._relay_chunks(incoming, reply, headers, send, lines)
        finally:
            if not reply.complete:
                reply.close()

    async def _relay_chunks(
        self, incoming: Incoming, reply: Reply, headers: list[Header], send: Send, lines: bytes
    ) -> None:
        await self._start(incoming, send, reply.status, headers, lines)
        async for chunk in reply.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async def _relay_stream(
        self, incoming: Incoming, reply: Reply, headers: list[Header], receive: Receive, send: Send
    ) -> None:
        """Events until the service ends them, the client leaves, its token ends, or this gateway is drained."""
        incoming.scope["is_stream"] = True
        reply.lift_deadline()
        watch = asyncio.create_task(self._watch(incoming.claims, reply, receive))
        try:
            await self._start(incoming, send, reply.status, headers, PRIVATE)
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            async for chunk in reply.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            watch.cancel()

    async def _watch(self, claims: Claims | None, reply: Reply, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            while not gone.done():
                await asyncio.wait({gone}, timeout=WATCH_EVERY)
                ended = claims is not None and not self._tokens.still_holds(claims)
                if ended or loop.time() - reply.heard_at > SILENT_STREAM:
                    break
        finally:
            gone.cancel()
        reply.stop()

    async def _start(self, incoming: Incoming, send: Send, status: int, headers: list[Header], lines: bytes) -> None:
        incoming.status = status
        incoming.started = True
        lines %= incoming.request_id
        if incoming.throttle is not None:
            limit, verdict = incoming.throttle
            refill = int((limit.burst - verdict.remaining) / limit.rate) + 1
            lines += b'ratelimit-policy: %b\r\nratelimit: "default";r=%d;t=%d\r\n' % (
                limit.policy,
                verdict.remaining,
                refill,
            )
        await send({"type": "http.response.start", "status": status, "headers": headers, "lines": lines})

    async def _answer(
        self, incoming: Incoming, send: Send, status: int, headers: list[Header], body: bytes, lines: bytes
    ) -> None:
        await self._start(incoming, send, status, headers, lines)
        await send({"type": "http.response.body", "body": body})

    async def _problem(self, incoming: Incoming, send: Send, error: ServiceError) -> None:
        """Nothing can be said any more once a reply has begun: the server cuts it off, so that it looks incomplete."""
        incoming.code = error.code
        if incoming.started:
            return
        body = document(error, incoming.request_id.decode())
        headers = [(k.lower().encode(), v.encode()) for k, v in headers_of(error).items()]
        headers += ((b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)))
        await self._answer(incoming, send, error.status, headers, body, PRIVATE)


def _chosen(page: Page, variants: Variants, incoming: Incoming) -> Page:
    """The variant of a document that this client takes, or word that it has it already."""
    is_zipped = takes_gzip(incoming.headers.get(b"accept-encoding"))
    tag = variants.tag_of(is_zipped=is_zipped)
    headers = (*page.headers, (b"vary", b"accept-encoding"), (b"etag", tag))
    if is_known(incoming.headers.get(b"if-none-match"), tag):
        return Page(b"", page.content_type, HTTPStatus.NOT_MODIFIED, headers)
    if is_zipped:
        return Page(variants.zipped, page.content_type, page.status, (*headers, (b"content-encoding", b"gzip")))
    return Page(variants.plain, page.content_type, page.status, headers)


def _kind(route: Route, claims: Claims | None) -> Kind | None:
    """The class a request competes in; None is never refused."""
    if route.work == "chat":
        return "chat_free" if claims is None or claims.principal.plan == "free" else "chat_paid"
    return None if route.work == "always" else route.work


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message: Message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message["body"], message["more_body"]


async def _read_body(receive: Receive, route: Route) -> bytes:
    body, more = await _piece(receive)
    if more:
        pieces = [body]
        size = len(body)
        while more and size <= route.max_body:
            body, more = await _piece(receive)
            size += len(body)
            pieces.append(body)
        body = b"".join(pieces)
    if len(body) > route.max_body:
        raise too_large(route)
    return body


async def _chunks(receive: Receive, route: Route) -> AsyncIterator[bytes]:
    size = 0
    more = True
    while more:
        piece, more = await _piece(receive)
        size += len(piece)
        if size > route.max_body:
            raise too_large(route)
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _public_caching(reply: Reply) -> Header | None:
    """Public documents may be cached as their service says; everything else never."""
    return next((header for header in reply.headers if header[0] == b"cache-control"), None)
