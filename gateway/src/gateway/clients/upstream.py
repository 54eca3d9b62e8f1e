"""A service behind the gateway: its replicas, a pool of connections to each, and one careful repeat."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from gateway.clients.connection import Connection, ReplicaFailed, Reply
from gateway.domain.forwarding import Request
from shared.breaker import Breaker
from shared.degradation import EngineStatus
from shared.errors import CapabilityUnavailable, DeadlineExceeded, Overloaded, ServiceError
from shared.repeats import RepeatBudget
from shared.replicas import Address, Replicas

log = structlog.get_logger()

CONNECT = timedelta(milliseconds=500).total_seconds()
FIRST_ATTEMPT = timedelta(milliseconds=2500).total_seconds()
"""What a first attempt may take where a second one is possible."""
MAX_CONNECTIONS = 512
"""Per replica; above it requests are shed."""


@dataclass(slots=True)
class Replica:
    """One process of the service, with the connections to it; the health monitor notes how it is."""

    address: Address
    breaker: Breaker
    host: bytes
    is_well: bool = True
    missed: int = 0
    databases: Mapping[str, EngineStatus] = field(default_factory=dict)
    idle: list[Connection] = field(default_factory=list)
    open: set[Connection] = field(default_factory=set)

    def free_connection(self) -> Connection | None:
        """A connection that is free and sound, the one used last first."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()
        return None

    async def new_connection(self) -> Connection:
        """A connection that nobody used before; raises ReplicaFailed, or Overloaded when there are too many."""
        if len(self.open) >= MAX_CONNECTIONS:
            raise Overloaded
        connection = Connection(self.idle.append, self._forget)
        try:
            await self._connect(connection)
        except TimeoutError as error:
            raise ReplicaFailed("no connection in time", untouched=True, timed_out=True) from error
        except OSError as error:
            raise ReplicaFailed(f"no connection: {error!r}", untouched=True) from error
        self.open.add(connection)
        return connection

    async def _connect(self, connection: Connection) -> None:
        """Connect, or leave nothing behind.

        A timeout or a cancellation in the very turn in which the connect succeeds makes uvloop close the transport
        after `connection_made` and never call `connection_lost` (0.23), so the connection is told here.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT):
                await loop.create_connection(lambda: connection, self.address.host, self.address.port)
        except BaseException:
            connection.forsake()
            raise

    def _forget(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        """Drop every connection."""
        for connection in list(self.open):
            connection.abort()


class PooledUpstream:
    """An Upstream over raw connections, balanced over the replicas of one service."""

    def __init__(self, service: str, urls: str, *, capability: str) -> None:
        self.service = service
        self.capability = capability
        self._replicas = Replicas(service, urls)
        self._known: dict[Address, Replica] = {}
        self._budget = RepeatBudget()

    async def start(self) -> None:
        """Begin to resolve the service's name."""
        await self._replicas.start()

    async def close(self) -> None:
        """Drop every connection."""
        await self._replicas.close()
        for replica in self._known.values():
            replica.close()

    @property
    def replicas(self) -> list[Replica]:
        """The replicas known now; those that a changed name no longer gives are let go."""
        current = list(self._replicas)
        for gone in self._known.keys() - current:
            self._known.pop(gone).close()
        return [self._replica(address) for address in current]

    async def send(self, request: Request) -> Reply:
        """See Upstream."""
        self._budget.earn()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + request.deadline
        tried: list[Replica] = []
        repeated = False
        while True:
            replica = self._pick(tried)
            left = ends_at - loop.time()
            try:
                return await self._attempt(replica, request, left, again=bool(tried))
            except ReplicaFailed as failure:
                tried.append(replica)
                if not failure.untouched:
                    if repeated or not self._may_repeat(request):
                        raise self._refusal(failure) from failure
                    repeated = True
                if len(tried) > len(self._replicas) or ends_at - loop.time() <= 0:
                    raise self._refusal(failure) from failure
                log.info("upstream_repeated", upstream=self.service, reason=str(failure), untouched=failure.untouched)

    async def probe(self, replica: Replica, request: Request) -> Reply:
        """Ask one replica; for health. Raises ReplicaFailed or Overloaded."""
        connection = replica.free_connection() or await replica.new_connection()
        connection.begin(_wire(replica, request), request.deadline)
        return await connection.reply()

    def _pick(self, tried: list[Replica]) -> Replica:
        """The next replica that is well and untried, else the least bad one; raises when every breaker is open."""
        if not tried:
            replica = self._replica(self._replicas.next())
            if replica.is_well and not replica.breaker.is_open:
                return replica
        avoid = tried[-1].address if tried else None
        candidates = [self._replica(self._replicas.next(avoid)) for _ in range(len(self._replicas))]
        candidates.sort(key=lambda r: (r in tried, not r.is_well, r.breaker.is_open))
        for replica in candidates:
            if replica.breaker.allows():
                return replica
        raise CapabilityUnavailable(capability=self.capability)

    def _replica(self, address: Address) -> Replica:
        replica = self._known.get(address)
        if replica is None:
            host = address.url.removeprefix("http://").encode()
            replica = Replica(address, Breaker(f"{self.service}@{host.decode()}"), b"host: " + host + b"\r\n")
            self._known[address] = replica
        return replica

    async def _attempt(self, replica: Replica, request: Request, left: float, *, again: bool) -> Reply:
        may_repeat = request.repeatable and len(self._replicas) > 1 and not again
        limit = min(left, FIRST_ATTEMPT) if may_repeat else left
        began = said = False
        try:
            connection = (None if again else replica.free_connection()) or await replica.new_connection()
            if isinstance(request.body, bytes):
                connection.begin(_wire(replica, request), limit)
            else:
                began = True  # what was read from the client cannot be read again
                await _stream(connection, replica, request, limit)
            reply = await connection.reply()
        except ReplicaFailed as failure:
            said = True
            replica.breaker.failed()
            self._replicas.failed(replica.address)
            failure.untouched = failure.untouched and not began
            raise
        else:
            said = True
            replica.breaker.succeeded()
            return reply
        finally:
            if not said:
                replica.breaker.abandoned()

    def _may_repeat(self, request: Request) -> bool:
        return request.repeatable and isinstance(request.body, bytes) and self._budget.spend()

    def _refusal(self, failure: ReplicaFailed) -> ServiceError:
        log.warning("upstream_failed", upstream=self.service, reason=str(failure))
        if failure.timed_out and not failure.untouched:
            return DeadlineExceeded()
        return CapabilityUnavailable(capability=self.capability)


def _wire(replica: Replica, request: Request) -> bytes:
    body = request.body if isinstance(request.body, bytes) else b""
    line = request.method.encode() + b" " + request.target + b" HTTP/1.1\r\n"
    return b"".join((line, replica.host, request.head, b"\r\n", body))


async def _stream(connection: Connection, replica: Replica, request: Request, limit: float) -> None:
    """Send head and body piece by piece; a client that fails half-way costs the connection, never a half request."""
    assert not isinstance(request.body, bytes)  # noqa: S101 - the caller chose by this
    connection.begin(_wire(replica, request), limit, whole=False)
    is_sound = False
    try:
        async for chunk in request.body:
            if not await connection.send_more(chunk):
                is_sound = True
                return
        connection.end()
        is_sound = True
    finally:
        if not is_sound:
            connection.abort()
