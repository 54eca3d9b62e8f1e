"""How `faq` talks to the supervisor: one JSON line with a command, JSON lines back, then the end."""

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Self

from local_stack.home import Home
from local_stack.state import load_state

LONGEST_SOCKET_PATH = 100  # bytes; the kernel takes 108, macOS 104
LINE_LIMIT = 1 << 20

Handler = Callable[[Mapping[str, Any]], AsyncIterator[dict[str, Any]]]


class NotRunning(ConnectionError):
    """The stack is not running; start it with `faq up`."""


class ControlServer:
    """Listens on a Unix socket in the home, or on loopback with a token where the path is too long for one."""

    def __init__(self, home: Home, handler: Handler) -> None:
        self._home = home
        self._handler = handler
        self._token = ""
        self._server: asyncio.Server | None = None
        self.address: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        path = self._home.socket
        if len(str(path).encode()) <= LONGEST_SOCKET_PATH:
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, path, limit=LINE_LIMIT)
            path.chmod(0o600)
            self.address = {"socket": str(path)}
        else:
            self._token = secrets.token_urlsafe(24)
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
            self.address = {"port": self._server.sockets[0].getsockname()[1], "token": self._token}
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self._home.socket.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled: the supervisor ends with `down` still being told about it; asyncio would print that.
        with contextlib.suppress(ConnectionError, ValueError, asyncio.CancelledError):
            request = json.loads(await reader.readline())
            if hmac.compare_digest(str(request.get("token", "")), self._token):
                async for event in self._handler(request):
                    writer.write(json.dumps(event).encode() + b"\n")
                    await writer.drain()
        writer.close()


def ask(home: Home, command: str, *, timeout: float | None = 60.0, **words: object) -> Iterator[dict[str, Any]]:
    """Send a command and give what comes back; `timeout` is the longest silence in seconds. Raises NotRunning."""
    with _connect(home, timeout) as (link, token):
        link.sendall(json.dumps({"command": command, "token": token, **words}).encode() + b"\n")
        with link.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)


@contextlib.contextmanager
def _connect(home: Home, timeout: float | None) -> Iterator[tuple[socket.socket, str]]:
    address = {"socket": str(home.socket)} if home.socket.exists() else load_state(home).control
    if not address:
        raise NotRunning(NotRunning.__doc__)
    kind = socket.AF_UNIX if "socket" in address else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        try:
            link.connect(address["socket"] if "socket" in address else ("127.0.0.1", address["port"]))
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NotRunning(NotRunning.__doc__) from error
        yield link, str(address.get("token", ""))
