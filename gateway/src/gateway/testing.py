"""For tests: the gateway on a socket, replicas that behave or misbehave as told, tokens, and buckets in memory."""

import asyncio
import contextlib
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from gateway.app import App
from gateway.domain.rate_limits import Lease, Settlement
from gateway.domain.throttle import SharedBuckets
from gateway.server.protocol import GatewayServer
from gateway.server.running import listener, server_for
from gateway.settings import GatewaySettings
from shared.errors import CapabilityUnavailable
from shared.ids import new_id
from shared.testing import KEY

ISSUER = "multidb"
AUDIENCE = "multidb-api"


class Clock:
    """Seconds that only pass when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """What time it is."""
        return self.now


class InMemoryBuckets:
    """Shared buckets in a dictionary; `away` makes them unavailable."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self.away = False
        self.round_trips = 0

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """See SharedBuckets."""
        if self.away:
            raise CapabilityUnavailable(capability="notifications")
        self.round_trips += 1
        return self.settle_now(settlements)

    def settle_now(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """The same for tests without an event loop."""
        return [self._settle(each) for each in settlements]

    def _settle(self, each: Settlement) -> Lease:
        now = self._clock()
        rate, burst = each.limit.rate, each.limit.burst
        tokens, at = self._buckets.get(each.key, (float(burst), now))
        tokens = min(burst, tokens + (now - at) * rate + each.returned) - each.spent
        granted = max(0, min(each.wants, int(tokens // 1)))
        self._buckets[each.key] = (tokens - granted, now)
        return Lease(granted, tokens - granted)


class TokenMint:
    """Issues access tokens like auth-service, and publishes its key."""

    def __init__(self, key_id: str = "test") -> None:
        self._key = Ed25519PrivateKey.generate()
        self._key_id = key_id

    @property
    def keys(self) -> dict[str, Any]:
        """The JWKS document."""
        raw = self._key.public_key().public_bytes_raw()
        x = urlsafe_b64encode(raw).rstrip(b"=").decode()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self._key_id, "x": x}]}

    def token(self, plan: str = "enterprise", *, typ: str = "at+jwt", **claims: Any) -> str:  # noqa: ANN401 - claims are any JSON
        """A token for somebody new, but for the claims given; one that is None is left out."""
        now = time.time()
        known = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 900,
            "sub": str(new_id()),
            "org": str(new_id()),
            "role": "owner",
            "plan": plan,
            "jti": os.urandom(8).hex(),
            "sid": os.urandom(8).hex(),
        }
        chosen = {name: value for name, value in (known | claims).items() if value is not None}
        return jwt.encode(chosen, self._key, "EdDSA", headers={"typ": typ, "kid": self._key_id})


class PublishedDocuments:
    """What auth-service publishes, in memory; `away` makes it silent."""

    def __init__(self, mint: TokenMint) -> None:
        self.mint = mint
        self.keys: dict[str, Any] | None = None
        self.revocations: dict[str, Any] = {"as_of": "2026-01-01T00:00:00Z"}
        self.away = False
        self.asked = 0

    async def get(self, path: str) -> bytes:
        """See Published."""
        if self.away:
            raise CapabilityUnavailable(capability="accounts")
        self.asked += 1
        keys = self.mint.keys if self.keys is None else self.keys
        return orjson.dumps(keys if path == "/.well-known/jwks.json" else self.revocations)


@dataclass(slots=True)
class Asked:
    """A request as a replica saw it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Asked, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def plain(status: int, body: bytes, **headers: str) -> bytes:
    """A small HTTP reply."""
    lines = [f"HTTP/1.1 {status} Status", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def says_ok(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The default answer."""
    writer.write(plain(200, b'{"ok":true}'))


@dataclass
class Replica:
    """A service's process as seen from outside: it answers the gateway's own questions, and the rest as told."""

    mint: TokenMint = field(default_factory=TokenMint)
    answer: Answer = says_ok
    asked: list[Asked] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _idle: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port as before when it did already."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """Die at once, every connection with it."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def drain(self) -> None:
        """Take no new connections and close those that idle; the others end with their reply."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._idle):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                await self._serve_one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            self._idle.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._idle.add(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self._idle.discard(writer)
        method, target, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        own = self._own(target)
        if own is not None:
            writer.write(plain(200, orjson.dumps(own)))
        else:
            body = await _body(reader, headers)
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            await self.answer(asked, reader, writer)
        await writer.drain()
        if self._server is not None and not self._server.is_serving():
            writer.close()

    def _own(self, target: str) -> Any | None:  # noqa: ANN401 - any JSON
        answers: dict[str, Any] = {
            "/.well-known/jwks.json": self.mint.keys,
            "/internal/revocations": {"as_of": "2026-01-01T00:00:00Z"},
            "/internal/health": {"service": "any", "version": "1", "databases": {}},
            "/openapi.json": {"openapi": "3.1.0", "paths": {}},
        }
        return (answers | self.own).get(target)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\n"), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def settings_for(urls: str, **overrides: Any) -> GatewaySettings:  # noqa: ANN401 - any setting
    """Settings of a gateway whose services are all at `urls`."""
    known: dict[str, Any] = {
        "port": 0,
        "internal_identity_key": SecretStr(KEY.decode()),
        "redis_data_url": "redis://127.0.0.1:1/0",
        "auth_service_url": urls,
        "chat_service_url": urls,
        "knowledge_service_url": urls,
        "notification_service_url": urls,
        "task_worker_url": urls,
    }
    return GatewaySettings(**(known | overrides))


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway on a socket of this machine."""

    port: int
    server: GatewayServer
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def drain(self) -> None:
        """What SIGTERM does."""
        self.server.should_exit = True


@asynccontextmanager
async def running_gateway(
    settings: GatewaySettings, buckets: SharedBuckets | None = None, *, host: str = "127.0.0.1"
) -> AsyncIterator[RunningGateway]:
    """The whole gateway, its server included, on a free port until the block ends."""
    app = App(settings, log_requests=False, buckets=buckets or InMemoryBuckets())
    most = settings.max_connections
    server = server_for(app, host=host, port=0, drain=settings.drain, max_connections=most, loop="none")
    sock = listener(host, 0)
    port = sock.getsockname()[1]
    serving = server._serve([sock])  # noqa: SLF001 - without its signal handlers, which belong to the tests
    task = asyncio.create_task(serving)
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.01)
    try:
        yield RunningGateway(port, server, host)
    finally:
        server.should_exit = True
        await task
