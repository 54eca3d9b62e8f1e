"""One keep-alive HTTP/1.1 connection to one replica: a raw asyncio protocol on httptools, one exchange at a time.

Measured against HTTP client libraries it costs a third to a thirtieth per request. It never reuses a connection whose
last reply is not provably over, and it knows whether a request that failed can have been worked on.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import cast

import httptools

from gateway.domain.forwarding import Header
from shared.errors import DeadlineExceeded, UpstreamFailed

MAX_HEAD = 64 * 1024
BUFFER = 64 * 1024
MAX_IDLE = 30.0
"""Seconds after which an unused connection is not used again."""
RESET_GRACE = 0.02
"""Seconds to wait for the reset that follows when a request met a connection that was being closed."""
TCP_INFO = getattr(socket, "TCP_INFO", None)
ESTABLISHED, CLOSED = b"\x01", b"\x07"


class ReplicaFailed(Exception):
    """No reply came. `untouched`: the replica cannot have begun to work on the request. `timed_out`: it kept silent."""

    def __init__(self, reason: str, *, untouched: bool = False, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.untouched = untouched
        self.timed_out = timed_out


class Reply:
    """A reply over one connection, which is free for the next exchange once it was read to the end."""

    __slots__ = (
        "_buffered",
        "_connection",
        "_error",
        "_parts",
        "_stopped",
        "_waiter",
        "complete",
        "headers",
        "heard_at",
        "is_sized",
        "status",
    )

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._parts: list[bytes] = []
        self._buffered = 0
        self._error: Exception | None = None
        self._stopped = False
        self._waiter: asyncio.Future[None] | None = None
        self.heard_at = connection.now()
        self.status = 0
        self.is_sized = False
        self.headers: list[Header] = []
        self.complete = False

    @property
    def is_event_stream(self) -> bool:
        """Whether this is a reply without a foreseeable end."""
        return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers)

    @property
    def body(self) -> bytes:
        """The body of a complete reply."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def read(self) -> bytes:
        """Wait for the whole body; raises like `chunks`."""
        while not self.complete:
            await self._more()
        return self.body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; UpstreamFailed when it breaks off, DeadlineExceeded when time is up."""
        while True:
            if self._parts:
                data, self._parts, self._buffered = self.body, [], 0
                self._connection.resume_reading()
                yield data
            elif self.complete or self._stopped:
                return
            else:
                await self._more()

    def close(self) -> None:
        """Give up on the rest; the connection is not used again."""
        if not self.complete:
            self._connection.abort()

    def lift_deadline(self) -> None:
        """Let this reply take as long as it wants."""
        self._connection.lift_deadline()

    def stop(self) -> None:
        """Let the reader of `chunks` come to an end now, as if the body were over."""
        self._stopped = True
        self._wake()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def feed(self, data: bytes) -> bool:
        """Take a piece; says whether the reader is far behind."""
        self._parts.append(data)
        self._buffered += len(data)
        self.heard_at = self._connection.now()
        self._wake()
        return self._buffered > BUFFER

    def finish(self) -> None:
        """The body is all there."""
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The rest will not come."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """`released` is called with the connection once it is free for the next exchange, `lost` once it is gone."""

    def __init__(self, released: Callable[["Connection"], None], lost: Callable[["Connection"], None]) -> None:
        self._released = released
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._is_made = False
        self._socket: socket.socket | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Reply] | None = None
        self._incoming = Reply(self)
        self._reply: Reply | None = None
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._drain: asyncio.Future[None] | None = None
        self._head_size = 0
        self._has_head = False
        self._is_over = False
        self._until_close = False
        self._reusable = True
        self._sending = False
        self._reading_paused = False
        self.idle_since = 0.0
        self.uses = 0

    def now(self) -> float:
        """The time of the event loop, in seconds."""
        return self._loop.time()

    # --- the pool's side

    def is_fresh(self) -> bool:
        """Whether an idle connection may be used: not old, and the kernel still calls it established."""
        if self._transport.is_closing() or self._loop.time() - self.idle_since > MAX_IDLE:
            return False
        return self._tcp_state() in (ESTABLISHED, None)

    def abort(self) -> None:
        """Drop it, whatever it is doing."""
        self._reusable = False
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self._reusable = False
        self._transport.close()

    # --- the exchange's side

    def begin(self, data: bytes, timeout: float, *, whole: bool = True) -> None:
        """Send a request, or with `whole` False only its first part; the reply has to be over within `timeout` s."""
        self.uses += 1
        self._waiter = self._loop.create_future()
        self._reply = None
        self._is_over = False
        self._has_head = False
        self._head_size = 0
        self._sending = not whole
        self._due = self._loop.time() + timeout
        if self._timer is None or self._timer_at > self._due:
            self._arm(self._due)
        self._transport.write(data)

    async def send_more(self, data: bytes) -> bool:
        """Send a further piece of the request; False once the reply is there and the rest is not wanted."""
        if self._waiter is None or self._waiter.done() or self._transport.is_closing():
            return False
        self._transport.write(data)
        if self._drain is not None:
            await asyncio.shield(self._drain)
        return True

    def end(self) -> None:
        """The request is all sent."""
        self._sending = False

    async def reply(self) -> Reply:
        """Wait for the head of the reply; raises ReplicaFailed. Being cancelled costs the connection."""
        assert self._waiter is not None  # noqa: S101 - begin() came first
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise

    def lift_deadline(self) -> None:
        """Let this reply take as long as it wants."""
        self._due = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """One timer serves many exchanges: each only moves the time that is due, for making a timer is not cheap."""
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._arm(self._due)
            return
        self._fail(ReplicaFailed("no reply in time", timed_out=True), DeadlineExceeded())
        self.abort()

    def _fail(self, before: ReplicaFailed, after: Exception) -> None:
        """Tell whoever waits: `before` when no reply began, `after` when it broke off."""
        self._due = None
        waiter, reply = self._waiter, self._reply
        if waiter is not None and not waiter.done():
            waiter.set_exception(before)
            waiter.exception()  # looked at: whoever was to wait may have left while it was still sending
        elif reply is not None and not reply.complete:
            reply.fail(after)

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_made = True
        if TCP_INFO is not None:
            # Asking uvloop's stand-in for the state costs three times as much. The descriptor is a copy of our own: the
            # transport's belongs to the transport, which may close it without a word to us (see Replica._connect).
            self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone: a body that only ends with its connection is complete, any other exchange has failed."""
        if self._until_close and exc is None and self._reply is not None and not self._reply.complete:
            self._due = None
            self._reply.finish()
        untouched = isinstance(exc, ConnectionError) or self._was_reset()
        self._fail(ReplicaFailed(f"connection lost: {exc!r}", untouched=untouched), UpstreamFailed())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_copy()
        self.resume_writing()
        self._lost(self)

    def forsake(self) -> None:
        """Whoever wanted this connection has given up before it was handed over: close what there is of it."""
        self._close_copy()
        if self._is_made:
            self.abort()

    def _close_copy(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def eof_received(self) -> bool:
        """Closed by the replica. Whether our request met a closed door shows in the reset, which may take a moment."""
        waiting = self._waiter is not None and not self._waiter.done()
        if waiting and self._socket is not None and not self._was_reset():
            self._loop.call_later(RESET_GRACE, self._transport.abort)
            return True
        return False

    def _was_reset(self) -> bool:
        """A replica that read the request before it died closes in order; only unread bytes are answered by a reset."""
        return self._tcp_state() == CLOSED

    def _tcp_state(self) -> bytes | None:
        if self._socket is None or TCP_INFO is None:
            return None
        try:
            return self._socket.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)
        except OSError:
            return None

    def data_received(self, data: bytes) -> None:
        """Parse; bytes that nobody asked for, and bytes that are not HTTP, end the connection."""
        if self._waiter is None or self._is_over:
            self.abort()
            return
        if not self._has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._head_size = MAX_HEAD + 1
        if self._head_size > MAX_HEAD:
            self._fail(ReplicaFailed("the reply is not HTTP"), UpstreamFailed())
            self.abort()
            return
        self._hand_over(self._waiter)

    def _hand_over(self, waiter: asyncio.Future[Reply]) -> None:
        """After each piece parsed: give the reply to whoever waits, and free the connection when it is over."""
        if self._reply is not None and not waiter.done():
            waiter.set_result(self._reply)
        if self._is_over:
            self._conclude()

    def _conclude(self) -> None:
        self._due = None
        if self._reusable and not self._sending and not self._transport.is_closing():
            self.resume_reading()
            self._waiter = None
            self.idle_since = self._loop.time()
            self._released(self)
        else:
            self.abort()

    def pause_writing(self) -> None:
        """The replica reads slowly."""
        if self._drain is None:
            self._drain = self._loop.create_future()

    def resume_writing(self) -> None:
        """The replica reads again."""
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        self._drain = None

    def resume_reading(self) -> None:
        """The client took what was buffered."""
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    # --- the parser's side

    def on_message_begin(self) -> None:
        """A reply starts; a second one where one was asked for is none of ours."""
        if self._is_over:
            self._reusable = False
            return
        self._incoming = Reply(self)
        self._has_head = False
        self._until_close = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field."""
        if not self._is_over:
            self._incoming.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there; an interim reply (1xx) is not the one we wait for."""
        if self._is_over:
            return
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:
            return
        self._has_head = True
        self._head_size = 0
        reply = self._incoming
        reply.status = status
        framed = 0
        for name, _ in reply.headers:
            if name == b"content-length":
                reply.is_sized = True
                framed += 1
            elif name == b"transfer-encoding":
                framed += 1
        self._until_close = framed == 0 and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        self._reusable = self._reusable and framed <= 1 and not self._until_close
        self._reply = reply

    def on_body(self, body: bytes) -> None:
        """A piece of the body; a reader far behind stops us from reading on."""
        if self._is_over or self._reply is None:
            return
        if self._reply.feed(body) and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The reply is over."""
        if self._is_over or self._reply is None:
            return
        self._is_over = True
        self._reusable = self._reusable and self._parser.should_keep_alive()
        self._reply.finish()
