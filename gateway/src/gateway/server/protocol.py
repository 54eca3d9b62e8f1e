"""HTTP/1.1 towards clients: an ASGI server protocol with the time and size limits that uvicorn's own does not have.

Plugs into uvicorn (`http=ClientConnection`), which keeps the sockets, the signals and the lifespan. Written for the
hot path: no timer, event or second write per request; `GatewayServer` looks at all connections twice a second.
"""

import asyncio
from collections import deque
from datetime import timedelta
from http import HTTPStatus
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import Message, Scope
from uvicorn.server import ServerState

from gateway.domain.errors import RequestTimeout
from gateway.server import head
from shared.errors import HeadersTooLarge, MalformedRequest, Overloaded, ServiceError

IDLE = timedelta(seconds=30).total_seconds()
HEAD = timedelta(seconds=10).total_seconds()
BODY = timedelta(seconds=30).total_seconds()
STALLED_READER = timedelta(seconds=60).total_seconds()
LAST_CHANCE = timedelta(seconds=1).total_seconds()
LINGER = timedelta(seconds=3).total_seconds()
"""How long the rest of a refused body is read and thrown away, so that its sender gets to see the refusal."""

BODY_BUFFER = 64 * 1024
MAX_PIPELINED = 16
REFUSED_KINDLY = 256
"""Connections over the limit that are told so at once; further ones are dropped."""
STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
BODILESS = frozenset({204, 304})


class Peer:
    """The other end of a connection. `is_leaving`: it sends no more, so in all likelihood it reads no more either."""

    __slots__ = ("is_gone", "is_leaving")

    def __init__(self) -> None:
        self.is_gone = False
        self.is_leaving = False


class Exchange:
    """One request and its reply on a connection; `receive` and `send` are what the application gets.

    Beyond ASGI: the scope has `fields` (each header once), `refusal` (an error to answer with), `peer` (whether the
    client is still there), `is_whole` once the body has come, and takes `is_stream`; a response start may have `lines`,
    header lines ready to be sent.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_failure",
        "_head",
        "_is_read",
        "_waiter",
        "complete",
        "disconnected",
        "is_head",
        "keep_alive",
        "replied",
        "scope",
        "started",
        "task",
        "wants_continue",
    )

    def __init__(self, connection: "ClientConnection", scope: Scope, *, keep_alive: bool) -> None:
        self._connection = connection
        self._body: list[bytes] = []
        self._chunked = False
        self._failure: ServiceError | None = None
        self._head: list[bytes] = []
        self._is_read = False
        self._waiter: asyncio.Future[None] | None = None
        self.scope = scope
        self.keep_alive = keep_alive
        self.is_head = scope["method"] == "HEAD"
        self.complete = False
        self.disconnected = False
        self.replied = False
        self.started = False
        self.task: asyncio.Task[None] | None = None
        self.wants_continue = False

    def feed(self, data: bytes) -> int:
        """Take a piece of the body; returns how many bytes wait for the application."""
        self._body.append(data)
        self._wake()
        return sum(map(len, self._body))

    def finish_body(self) -> None:
        """The body is all there."""
        self.complete = self.scope["is_whole"] = True
        self._wake()

    def fail(self, error: ServiceError) -> None:
        """Let the application's next `receive` raise `error`, unless the reply is on its way."""
        self._failure = error
        self.keep_alive = False
        self._wake()

    def disconnect(self) -> None:
        """The client is gone, or has to go: `receive` says so."""
        self.disconnected = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """The next piece of the body; once it is all read, waits for the client to leave."""
        if self.wants_continue and not self.started:
            self.wants_continue = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            if self._failure is not None:
                raise self._failure
            if self._body or (self.complete and not self._is_read):
                return self._take()
            if self.disconnected:
                return {"type": "http.disconnect"}
            self._waiter = self._connection.loop.create_future()
            await self._waiter

    def _take(self) -> Message:
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._is_read = self.complete
        self._connection.resume_reading()
        return {"type": "http.request", "body": data, "more_body": not self.complete}

    async def send(self, message: Message) -> None:
        """Send the head with the first piece of the body in one write; later pieces wait for a slow reader."""
        if message["type"] == "http.response.start":
            self._begin(message)
            return
        if self._connection.is_write_paused:
            await self._connection.drained()
        if self.disconnected and self._connection.is_closing():
            return
        self._write(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, message: Message) -> None:
        self.started = True
        status = message["status"]
        if not self.complete:
            self.keep_alive = False
        sized = False
        lines = [STATUS_LINES[status], message.get("lines", b"")]
        for name, value in message["headers"]:
            if name == b"content-length":
                sized = True
            lines += (name, b": ", value, b"\r\n")
        for name, value in self._connection.default_headers:
            lines += (name, b": ", value, b"\r\n")
        if not sized and status not in BODILESS and not self.is_head:
            self._chunked = self.scope["http_version"] == "1.1"
            self.keep_alive = self.keep_alive and self._chunked
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self._head = lines

    def _write(self, body: bytes, *, more: bool) -> None:
        parts, self._head = self._head, []
        if self.is_head:
            pass
        elif self._chunked:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
        elif body:
            parts.append(body)
        if parts:
            self._connection.write(b"".join(parts))
        if not more:
            self.replied = True
            self._connection.replied(self)


class ClientConnection(asyncio.Protocol):
    """One client's connection: parses requests, starts the application for each, keeps the limits of the head."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - uvicorn's signature
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_event_loop()
        self._app = config.loaded_app
        self._most = config.limit_concurrency or float("inf")
        self._state = server_state
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._exchange: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._parsing: Exchange | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fed = 0
        self._in_head = False
        self._lingering = False
        self._reading_paused = False
        self._due: float | None = None
        self._stalls_at: float | None = None
        self._drain: asyncio.Future[None] | None = None
        self._is_draining = False
        self._peer = Peer()

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it has 30 s to say something. There can be too many of them."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = transport.get_extra_info("peername")
        self._server = transport.get_extra_info("sockname")
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own protocols only
        self._due = self.loop.time() + IDLE
        if len(self._state.connections) > self._most + REFUSED_KINDLY:
            self._transport.abort()
        elif len(self._state.connections) > self._most:
            self._refuse(Overloaded())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone: whoever waits for it is told."""
        self._state.connections.discard(self)
        self._peer.is_gone = self._peer.is_leaving = True
        self._due = self._stalls_at = None
        for exchange in (self._exchange, *self._queue):
            if exchange is not None:
                exchange.disconnect()
        self._queue.clear()
        self._release_writers()

    def eof_received(self) -> bool:
        """A client that closes its half while its request runs still gets the reply; a stream ends with its reader."""
        self._peer.is_leaving = True
        exchange = self._exchange
        if exchange is None or not exchange.complete or self._lingering or exchange.scope.get("is_stream"):
            return False
        exchange.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what came; a parser error is answered and ends the connection."""
        if self._lingering:
            return
        if self._exchange is None and not self._in_head:
            self._in_head = True
            self._fed = 0
            self._due = self.loop.time() + HEAD
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stop_reading()
        except httptools.HttpParserError:
            self._refuse(MalformedRequest("The request is not readable HTTP/1.1."))
        else:
            if self._in_head and self._fed > head.MAX_HEAD_BYTES and self._parsing is None:
                self._refuse(HeadersTooLarge())

    def pause_writing(self) -> None:
        """The client reads too slowly; it has 60 s."""
        self._stalls_at = self.loop.time() + STALLED_READER
        if self._drain is None:
            self._drain = self.loop.create_future()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stalls_at = None
        self._release_writers()

    def _release_writers(self) -> None:
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        self._drain = None

    # --- the server's side

    def shutdown(self) -> None:
        """The server drains: a running request is finished, a stream ends, an idle connection may ask once more.

        A request may be on its way on an idle connection, or on one that is new: closing at once would reset it.
        """
        self._is_draining = True
        exchange = self._exchange
        if exchange is None:
            self.loop.call_later(LAST_CHANCE, self._close_if_idle)
            return
        exchange.keep_alive = False
        if exchange.complete:
            exchange.disconnect()

    def _close_if_idle(self) -> None:
        if self._exchange is None and not self._transport.is_closing():
            self._transport.close()

    def check(self, now: float) -> None:
        """Act on whatever has taken too long; called twice a second."""
        if self._stalls_at is not None and now > self._stalls_at:
            self._transport.abort()
        elif self._due is not None and now > self._due:
            self._due = None
            self._expire()

    def _expire(self) -> None:
        exchange = self._exchange
        if self._lingering:
            self._transport.abort()
        elif exchange is not None:
            exchange.fail(RequestTimeout())
            if exchange.started:
                self._transport.abort()
        elif self._in_head:
            self._refuse(RequestTimeout())
        else:
            self._transport.close()

    # --- the parser's side

    def on_message_begin(self) -> None:
        """A request starts."""
        self._parsing = None
        self._target = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; how many there can be is bounded by what one read of the socket gives."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head and start the application."""
        self._in_head = False
        exchange = self._open(self._parser.get_method().decode("ascii"), *self._judged())
        self._parsing = exchange
        if self._exchange is None:
            self._start(exchange)
        elif len(self._queue) < MAX_PIPELINED:
            self._queue.append(exchange)
        else:
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._parsing is not None and not self._parsing.replied and self._parsing.feed(body) > BODY_BUFFER:
            self._pause_reading()

    def on_message_complete(self) -> None:
        """The request is all there: nothing more is read until it is answered."""
        exchange, self._parsing = self._parsing, None
        if exchange is None:
            return
        exchange.finish_body()
        if exchange is self._exchange:
            self._due = None
        else:
            self._pause_reading()

    def _judged(self) -> tuple[dict[bytes, bytes], ServiceError | None]:
        """The fields of the head, and why it is refused."""
        headers = self._headers
        if len(headers) > head.MAX_FIELDS or (
            self._fed > head.MAX_HEAD_BYTES and head.size(self._target, headers) > head.MAX_HEAD_BYTES
        ):
            return {}, HeadersTooLarge()
        fields, refusal = head.read(headers)
        self._target = head.origin_form(self._target, fields.get(b"host"))
        refusal = refusal or head.refusal(self._target, fields, self._parser.get_http_version())
        has_body = b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"
        if refusal is None and has_body and self._parser.should_upgrade():
            refusal = MalformedRequest("An upgrade cannot have a body.")
        return fields, refusal

    def _open(self, method: str, fields: dict[bytes, bytes], refusal: ServiceError | None) -> Exchange:
        path, _, query = self._target.partition(b"?")
        version = self._parser.get_http_version()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": method,
            "scheme": "http",
            "root_path": "",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "fields": fields,
            "refusal": refusal,
            "peer": self._peer,
        }
        keep_alive = refusal is None and version == "1.1" and self._parser.should_keep_alive() and not self._is_draining
        exchange = Exchange(self, scope, keep_alive=keep_alive and not self._parser.should_upgrade())
        exchange.wants_continue = fields.get(b"expect", b"").lower() == b"100-continue"
        return exchange

    def _start(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._due = None if exchange.complete else self.loop.time() + BODY
        exchange.task = self.loop.create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        """The application answers for its own failures; a reply it left unfinished ends the connection."""
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        finally:
            if not exchange.replied:
                self._transport.abort()

    def _refuse(self, error: ServiceError) -> None:
        """Answer what cannot be read as a request, in the application's own way, and close."""
        if self._exchange is not None:
            self._exchange.keep_alive = False
            if not self._exchange.complete:
                self._exchange.fail(error)
            self._stop_reading()
            return
        self._in_head = False
        self._target, self._headers = b"/", []
        self._start(self._open("GET", {}, error))

    # --- the exchange's side

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The Date header, renewed by the server every second."""
        return self._state.default_headers

    @property
    def is_write_paused(self) -> bool:
        """Whether the client reads too slowly right now."""
        return self._drain is not None

    async def drained(self) -> None:
        """Wait until the client has read enough."""
        if self._drain is not None:
            await asyncio.shield(self._drain)

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def replied(self, exchange: Exchange) -> None:
        """A reply is complete: go on with the next request, or close."""
        if self._transport.is_closing():
            return
        if not exchange.keep_alive:
            self._leave(exchange)
            return
        self._exchange = None
        if self._queue:
            self._start(self._queue.popleft())
        else:
            self._due = self.loop.time() + IDLE
            self.resume_reading()

    def _leave(self, exchange: Exchange) -> None:
        """Close; where a body is still coming, only after it or 3 s, or the kernel would throw the reply away."""
        if exchange.complete:
            self._transport.close()
            return
        self._lingering = True
        self._queue.clear()
        self._due = self.loop.time() + LINGER
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.resume_reading()

    def _stop_reading(self) -> None:
        self._lingering = True
        self._due = None

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, where reading was paused."""
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()


class GatewayServer(uvicorn.Server):
    """uvicorn's server that also looks after the time limits of its connections."""

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn every 100 ms."""
        if counter % 5 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast("ClientConnection", connection).check(now)
        return await super().on_tick(counter)
