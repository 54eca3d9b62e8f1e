"""CQL (ScyllaDB or Apache Cassandra) on an asyncio loop: prepared statements, deadlines, admission and a breaker."""

import asyncio
import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from cassandra import (
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    RequestExecutionException,
    Unavailable,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, ResponseFuture, Session
from cassandra.connection import Connection
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, RetryPolicy, TokenAwarePolicy
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement

from shared import deadlines
from shared.background import Background
from shared.breaker import Breaker
from shared.cql_connection import LoopConnection
from shared.degradation import EngineStatus
from shared.errors import CapabilityUnavailable, Overloaded
from shared.settings import CqlSettings

log = structlog.get_logger()

UNSET = UNSET_VALUE
"""Bind this for "no value": a NULL would write a tombstone."""

STATEMENT = timedelta(milliseconds=800)
SILENCE = timedelta(milliseconds=500)
LOOK_EVERY = timedelta(milliseconds=500)
"""How long a probe may take and the pause between two: a frozen node is known to be away within two seconds."""
IN_FLIGHT = 256
QUEUE = timedelta(milliseconds=100)
GRACE = timedelta(milliseconds=20)
"""Time to read what came in while our own loop was busy, before a reply counts as missing."""
AWAY = (NoHostAvailable, OperationTimedOut, Unavailable, RequestExecutionException, DriverException, OSError)

Row = Any
"""A named tuple with the columns of its statement; the driver makes the class, so its type is only known there."""


class IdempotentRetry(RetryPolicy):
    """One more try on the next host, for idempotent statements only; the driver's default repeats any write."""

    def _once(self, retry_num: int) -> tuple[int, int | None]:
        return (self.RETRY_NEXT_HOST, None) if retry_num == 0 else (self.RETHROW, None)

    def on_read_timeout(self, *_args: Any, retry_num: int = 0, **_kwargs: Any) -> tuple[int, int | None]:  # noqa: ANN401
        """A read may always be repeated."""
        return self._once(retry_num)

    def on_write_timeout(self, query: Any, *_args: Any, retry_num: int = 0, **_kwargs: Any) -> tuple[int, int | None]:  # noqa: ANN401
        """A write may be repeated when its statement says so."""
        return self._once(retry_num) if query.is_idempotent else (self.RETHROW, None)

    def on_unavailable(self, *_args: Any, retry_num: int = 0, **_kwargs: Any) -> tuple[int, int | None]:  # noqa: ANN401
        """Nothing was written: another coordinator may see more replicas."""
        return self._once(retry_num)

    def on_request_error(self, query: Any, *_args: Any, retry_num: int = 0, **_kwargs: Any) -> tuple[int, int | None]:  # noqa: ANN401
        """The connection broke: whether it was written is unknown."""
        return self._once(retry_num) if query.is_idempotent else (self.RETHROW, None)


def make_cluster(
    settings: CqlSettings, *, timeout: timedelta = STATEMENT, connection: type[Connection] = LibevConnection
) -> Cluster:
    """A driver cluster with our policies and timeouts; used by `Cql` and by the migrations."""
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.scylla_datacenter)),
        retry_policy=IdempotentRetry(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=timeout.total_seconds(),
    )
    auth = None
    if settings.scylla_user and settings.scylla_password:
        auth = PlainTextAuthProvider(settings.scylla_user, settings.scylla_password.get_secret_value())
    return Cluster(
        contact_points=settings.contact_points,
        port=settings.scylla_port,
        auth_provider=auth,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connection_class=connection,
        reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
        protocol_version=4,
        connect_timeout=2,
        control_connection_timeout=2,
        idle_heartbeat_interval=5,
        idle_heartbeat_timeout=2,
        schema_metadata_enabled=False,
        token_metadata_enabled=True,
    )


class Cql:
    """A session that is made as soon as the cluster can be reached.

    Losing the cluster raises CapabilityUnavailable(`capability`) within 0.8 s or at once; too many statements at a
    time raise Overloaded after 100 ms. Statements are prepared on first use and named constants by their owner.
    """

    def __init__(self, settings: CqlSettings, *, capability: str) -> None:
        self._settings = settings
        self._capability = capability
        self._breaker = Breaker("cql", failures=2)
        self._admission = asyncio.Semaphore(IN_FLIGHT)
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._prepared: dict[str, PreparedStatement] = {}
        self._background = Background()

    async def start(self) -> None:
        """Connect in the background and keep watching."""
        self._background.keep(self._keep_connected)

    async def close(self) -> None:
        """Close every connection."""
        await self._background.close()
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.shutdown)

    @property
    def status(self) -> EngineStatus:
        """Whether the cluster answered lately."""
        return "unavailable" if self._breaker.is_open or self._session is None else "ok"

    async def execute(self, statement: str, parameters: Sequence[Any] = (), *, idempotent: bool = True) -> list[Row]:
        """The rows of one statement (up to the driver's page of 5,000)."""
        return await self._guarded(functools.partial(self._execute, statement, parameters, idempotent=idempotent))

    async def execute_batch(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        """Several idempotent writes to ONE partition as one unlogged batch: one round trip, applied together."""
        await self._guarded(functools.partial(self._execute_batch, statements))

    async def _execute(self, statement: str, parameters: Sequence[Any], *, idempotent: bool) -> list[Row]:
        session, prepared = await self._prepare(statement)
        bound = prepared.bind(parameters)
        bound.is_idempotent = idempotent
        return await self._send(session, bound)

    async def _execute_batch(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[Row]:
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        batch.is_idempotent = True
        session = None
        for statement, parameters in statements:
            session, prepared = await self._prepare(statement)
            batch.add(prepared, parameters)
        return [] if session is None else await self._send(session, batch)

    async def _guarded(self, work: Any) -> list[Row]:  # noqa: ANN401 - a coroutine function without arguments
        if self._session is None or not self._breaker.allows():
            raise CapabilityUnavailable(capability=self._capability)
        try:
            if self._admission.locked():
                await asyncio.wait_for(self._admission.acquire(), QUEUE.total_seconds())
            else:
                await self._admission.acquire()
        except TimeoutError as error:
            self._breaker.abandoned()
            raise Overloaded from error
        began = self._breaker.now
        try:
            rows: list[Row] = await work()
        except InvalidRequest as error:
            self._breaker.abandoned()
            if not str(error).endswith("does not exist") and "unconfigured table" not in str(error):
                raise
            log.warning("cql_not_migrated", error=repr(error))
            raise CapabilityUnavailable(capability=self._capability) from error
        except (OperationTimedOut, TimeoutError) as error:
            await self._timed_out(began, STATEMENT)
            log.warning("cql_timed_out", error=repr(error))
            raise CapabilityUnavailable(capability=self._capability) from error
        except AWAY as error:
            self._breaker.failed()
            log.warning("cql_away", error=repr(error))
            raise CapabilityUnavailable(capability=self._capability) from error
        except BaseException:
            self._breaker.abandoned()
            raise
        finally:
            self._admission.release()
        self._breaker.succeeded()
        return rows

    async def _timed_out(self, began: float, at_most: timedelta) -> None:
        await asyncio.sleep(GRACE.total_seconds())
        self._breaker.timed_out(began, at_most + GRACE)

    async def _prepare(self, statement: str) -> tuple[Session, PreparedStatement]:
        session = self._session
        if session is None:
            raise CapabilityUnavailable(capability=self._capability)
        prepared = self._prepared.get(statement)
        if prepared is None:
            # The driver's own limit for PREPARE is 10 s, whatever the execution profile says.
            async with asyncio.timeout(deadlines.remaining(STATEMENT)):
                prepared = await asyncio.to_thread(session.prepare, statement)
            self._prepared[statement] = prepared
        return session, prepared

    async def _send(self, session: Session, statement: Any) -> list[Row]:  # noqa: ANN401 - bound or batch
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Row]] = loop.create_future()

        def succeeded(rows: list[Row] | None) -> None:
            if not done.done():
                done.set_result(rows or [])

        def failed(error: BaseException) -> None:
            # Where there is no host, or a connection is closed, the driver says so on a thread of its own.
            loop.call_soon_threadsafe(_fail, done, error)

        sent: ResponseFuture = session.execute_async(statement, timeout=deadlines.remaining(STATEMENT))
        sent.add_callbacks(succeeded, failed)
        return await done

    async def _connect(self) -> None:
        cluster = make_cluster(
            self._settings, connection=LoopConnection.on(asyncio.get_running_loop(), self._breaker.heard)
        )
        try:
            session = await asyncio.to_thread(cluster.connect, self._settings.keyspace)
        except BaseException:
            await asyncio.to_thread(cluster.shutdown)
            raise
        # A statement without a timestamp of its own gets the engine's: clocks of replicas differ, and the engine stamps
        # its lightweight transactions by its own clock, too (docs/adr/0011).
        session.use_client_timestamp = False
        self._cluster, self._session = cluster, session
        self._breaker.succeeded()
        log.info("cql_connected", keyspace=self._settings.keyspace)

    async def _keep_connected(self) -> None:
        while True:
            try:
                if self._session is None:
                    await self._connect()
                else:
                    await self._probe()
            except (*AWAY, CapabilityUnavailable, Overloaded) as error:
                if self._session is None:
                    self._breaker.failed()
                    log.warning("cql_unreachable", error=repr(error))
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def _probe(self) -> None:
        """Ask for something small; silence counts as a failure sooner than for a statement, so that it is noticed."""
        began = self._breaker.now
        try:
            async with asyncio.timeout(SILENCE.total_seconds()):
                await self.execute("SELECT release_version FROM system.local")
        except TimeoutError:
            await self._timed_out(began, SILENCE)


def _fail(waiting: asyncio.Future[list[Row]], error: BaseException) -> None:
    if not waiting.done():
        waiting.set_exception(error)
