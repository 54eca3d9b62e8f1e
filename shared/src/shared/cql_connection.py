"""A connection of the CQL driver on the asyncio loop of its process, instead of on a reactor thread.

The driver's own reactors run in a thread: every statement wakes that thread, and its reply wakes the loop again, with
the interpreter lock changing hands each time. Here bytes are written and read where the caller already is.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from cassandra.connection import Connection, ConnectionShutdown

CHUNK = 1 << 14


class _Timer:
    """A callback after some seconds, as the driver wants it; made and cancelled on any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], Any]) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        self._callback = callback
        if _is_running(loop):
            self._begin(seconds)
        else:
            loop.call_soon_threadsafe(self._begin, seconds)

    def _begin(self, seconds: float) -> None:
        if not self._is_cancelled:
            self._handle = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        if not self._is_cancelled:
            self._callback()

    def cancel(self) -> None:
        """Never call back; a handle of the loop may only be touched by the loop, so another thread leaves it to run."""
        self._is_cancelled = True
        if self._handle is not None and _is_running(self._loop):
            self._handle.cancel()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    return asyncio._get_running_loop() is loop  # noqa: SLF001 - the public function raises where there is none


class LoopConnection(Connection):  # type: ignore[misc] # the driver has no types
    """Bytes to and from one node over a non-blocking socket that the loop watches; plain TCP.

    Made on worker threads, since the driver connects and waits for the handshake there; everything else happens on the
    loop. Statements sent in one turn of the loop leave in one system call.
    """

    loop: ClassVar[asyncio.AbstractEventLoop]
    is_closed: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the driver's own
        super().__init__(*args, **kwargs)
        self._unsent: deque[bytes] = deque()
        self._is_flushing = False
        self._is_blocked = False
        self._left = b""
        self._connect_socket()
        self._socket.setblocking(False)
        self.loop.call_soon_threadsafe(self._watch)
        self._send_options_message()

    @staticmethod
    def heard() -> None:
        """A node sent something."""

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> type["LoopConnection"]:
        """The class of connections of that loop; `heard` is told whenever a node sends something."""
        return type("LoopConnection", (cls,), {"loop": loop, "heard": staticmethod(heard)})

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], Any]) -> _Timer:
        """Call back after `timeout` seconds."""
        return _Timer(cls.loop, timeout, callback)

    def push(self, data: bytes) -> None:
        """Send bytes, in the order of the calls."""
        self._unsent.append(data)
        if self._is_flushing:
            return
        self._is_flushing = True
        if _is_running(self.loop):
            self.loop.call_soon(self._flush)
        else:
            self.loop.call_soon_threadsafe(self._flush)

    def close(self) -> None:
        """Close the socket and fail what waits for a reply."""
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        if _is_running(self.loop):
            self._forget()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._forget)
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"Connection to {self.endpoint} was closed"))
            self.connected_event.set()

    def _watch(self) -> None:
        if not self.is_closed:
            self.loop.add_reader(self._socket.fileno(), self._read)

    def _forget(self) -> None:
        descriptor = self._socket.fileno()
        if descriptor >= 0:
            self.loop.remove_reader(descriptor)
            self.loop.remove_writer(descriptor)
            self._socket.close()

    def _flush(self) -> None:
        self._is_flushing = False  # before the bytes are taken: whoever adds some later asks again
        parts = [self._left]
        while self._unsent:
            parts.append(self._unsent.popleft())
        self._left = b"".join(parts)
        if not self._is_blocked:
            self._write()

    def _write(self) -> None:
        if self.is_closed or not self._left:
            return
        try:
            sent = self._socket.send(self._left)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.defunct(error)
            return
        self._left = self._left[sent:]
        if self._left and not self._is_blocked:
            self._is_blocked = True
            self.loop.add_writer(self._socket.fileno(), self._write)
        elif self._is_blocked and not self._left:
            self._is_blocked = False
            self.loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.defunct(error)
            return
        if not data:
            self.close()
            return
        self.heard()
        self._iobuf.write(data)
        self.process_io_buffer()
