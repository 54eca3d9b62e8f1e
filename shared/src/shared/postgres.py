"""PostgreSQL with the timeouts and the breaker that keep a frozen server from freezing us."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
import structlog

from shared import deadlines
from shared.background import Background
from shared.breaker import Breaker
from shared.clock import HybridClock
from shared.degradation import EngineStatus
from shared.errors import CapabilityUnavailable
from shared.settings import PostgresSettings

log = structlog.get_logger()

STATEMENT = timedelta(seconds=1)
CONNECT = timedelta(seconds=1)
LOOK_EVERY = timedelta(milliseconds=500)
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
)


class Postgres:
    """A pool that is made as soon as the server can be reached, and made again when it was away.

    Losing the server raises CapabilityUnavailable(`capability`) within a second or at once.
    """

    def __init__(self, settings: PostgresSettings, *, capability: str, connections: int = 10) -> None:
        self._settings = settings
        self._capability = capability
        self._connections = connections
        self._breaker = Breaker("postgresql", failures=2)
        self._takes_connections = True
        self._pool: asyncpg.Pool | None = None
        self._background = Background()
        self.clock = HybridClock()
        """Time as this server has it."""

    async def start(self) -> None:
        """Try to connect now, for at most a second, and keep trying in the background."""
        await self._probe()
        self._background.keep(self._keep_watching)

    async def close(self) -> None:
        """Close every connection."""
        await self._background.close()
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), STATEMENT.total_seconds())
            except AWAY:
                self._pool.terminate()

    @property
    def status(self) -> EngineStatus:
        """Whether the server answered lately."""
        is_away = self._breaker.is_open or self._pool is None or not self._takes_connections
        return "unavailable" if is_away else "ok"

    @asynccontextmanager
    async def transaction(self, organization_id: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A transaction; `organization_id` becomes `app.organization_id`, which row level security compares with."""
        async with self.connection() as connection, connection.transaction():
            if organization_id is not None:
                await connection.execute(SET_ORGANIZATION, organization_id)
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool. One that timed out is thrown away: its state on a frozen server is unknown."""
        if self._pool is None or not self._takes_connections or not self._breaker.allows():
            raise CapabilityUnavailable(capability=self._capability)
        pool, began = self._pool, self._breaker.now
        try:
            connection = await pool.acquire(timeout=deadlines.remaining(STATEMENT))
        except AWAY as error:
            self._count(error, began)
            raise CapabilityUnavailable(capability=self._capability) from error
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        try:
            yield connection
        except AWAY as error:
            _discard(connection)
            self._count(error, began)
            raise CapabilityUnavailable(capability=self._capability) from error
        except asyncio.CancelledError:
            _discard(connection)
            self._breaker.abandoned()
            raise
        except asyncpg.PostgresError:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        else:
            self._breaker.succeeded()
        finally:
            await self._release(pool, connection)

    def _count(self, error: Exception, began: float) -> None:
        """What an error says of the server: it answered, it is away, or we stopped waiting."""
        if isinstance(error, asyncpg.QueryCanceledError):
            self._breaker.succeeded()
        elif isinstance(error, TimeoutError):
            self._breaker.timed_out(began)
        else:
            self._breaker.failed()

    async def _release(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        try:
            await pool.release(connection, timeout=STATEMENT.total_seconds())
        except AWAY as error:
            log.warning("connection_lost", error=repr(error))
            _discard(connection)

    async def _connect(self) -> asyncpg.Pool:
        settings = self._settings
        return await asyncpg.create_pool(
            host=settings.postgres_host,
            port=settings.postgres_port,
            database=settings.postgres_db,
            user=settings.postgres_app_user,
            password=settings.postgres_app_password.get_secret_value(),
            min_size=1,
            max_size=self._connections,
            timeout=CONNECT.total_seconds(),
            command_timeout=STATEMENT.total_seconds(),
            server_settings={"application_name": self._capability, "statement_timeout": "1000"},
        )

    async def _probe(self) -> None:
        try:
            if self._pool is None:
                async with asyncio.timeout(CONNECT.total_seconds()):
                    self._pool = await self._connect()
                self._breaker.succeeded()
            else:
                await self._knock()
                async with self.connection() as connection:
                    await self.clock.compare(lambda: connection.fetchval(TIME))
        except (*AWAY, asyncpg.PostgresError) as error:
            self._breaker.failed()
            log.warning("postgres_away", error=repr(error))
        except CapabilityUnavailable:
            pass

    async def _knock(self) -> None:
        """Begin a new connection and hang up: a server may serve old connections while it takes no new ones.

        Without this a frozen postmaster would be noticed by whoever needs one connection more, and by nobody else.
        """
        try:
            async with asyncio.timeout(CONNECT.total_seconds()):
                await _begin_connection(self._settings.postgres_host, self._settings.postgres_port)
        except (OSError, EOFError) as error:
            self._takes_connections = False
            raise ConnectionError("PostgreSQL takes no new connections") from error
        self._takes_connections = True

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            await self._probe()


async def _begin_connection(host: str, port: int) -> None:
    """Ask whether the server speaks TLS: any answer will do, and hanging up afterwards leaves no line in its log."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(SSL_REQUEST)
        await reader.readexactly(1)
    finally:
        writer.close()


def _discard(connection: asyncpg.Connection) -> None:
    """Close without waiting; one that the server closed has left the pool already and says so."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


TIME = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
SSL_REQUEST = struct.pack("!II", 8, 80_877_103)
SET_ORGANIZATION = "SELECT set_config('app.organization_id', $1, true)"
