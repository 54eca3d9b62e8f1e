"""Redis (or Valkey) with the timeouts and the breaker that keep a frozen server from freezing us."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.background import Background
from shared.breaker import Breaker
from shared.clock import HybridClock
from shared.degradation import EngineStatus
from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

Result = TypeVar("Result")

TIMEOUT = timedelta(milliseconds=100)
WATCH_EVERY = timedelta(seconds=1)
WATCH_WHILE_AWAY = timedelta(milliseconds=500)
REFUSAL_HOLDS = timedelta(seconds=2)
"""How long a reply that says "I cannot serve" is believed: longer than the watch needs to ask again."""
PROBE = "multidb:probe"
OURS = frozenset({"ERR", "WRONGTYPE", "NOSCRIPT", "BUSYGROUP", "NOGROUP", "CROSSSLOT", "BUSYKEY"})
"""Codes of error replies that blame the command. Any other one (OOM, READONLY, LOADING, MISCONF, NOAUTH, NOPERM,
CLUSTERDOWN, NOREPLICAS, ...) says that the server cannot serve now."""
CODE = re.compile(r"""(?:Command # .* caused error: (?:\(["'])?)?-?([A-Z]+)\b""", re.DOTALL)
FULL = "OOM command not allowed"


def code_of(error: ResponseError) -> str:
    """The code of an error reply: redis-py keeps that of some apart, leaves others in the text, or words its own."""
    if isinstance(error, OutOfMemoryError) or FULL in str(error):
        return "OOM"
    known = getattr(error, "status_code", None)
    if known is not None:
        return str(known)
    found = CODE.match(str(error))
    return found[1] if found else "ERR"


class RedisStore:
    """One Redis behind a breaker. Losing it raises CapabilityUnavailable(`capability`) within 100 ms or at once.

    A server that answers with an error which says that it cannot serve (full, read-only, loading, locked, ...) is as
    good as away: it is left alone until the watch, which writes, has been served again.

    redis-py's own defaults retry and wait: a frozen server holds a call for more than 30 s (measured), so there are no
    driver retries here. `blocking_client` is for subscriptions and blocking reads, which have no read timeout.
    """

    def __init__(self, url: str, *, capability: str, timeout: timedelta = TIMEOUT, connections: int = 32) -> None:
        seconds = timeout.total_seconds()
        self._url = url
        self._capability = capability
        self._breaker = Breaker(f"redis:{capability}")
        self._client: Redis = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=seconds,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
            )
        )
        self._background = Background()
        self._refused_until = 0.0
        self.clock = HybridClock()
        """Time as this server has it."""

    async def start(self) -> None:
        """Look at the server once and go on in the background, so that its return is noticed without traffic."""
        await self._look()
        self._background.keep(self._keep_watching)

    async def close(self) -> None:
        """Close every connection."""
        await self._background.close()
        await self._client.aclose(close_connection_pool=True)

    @property
    def status(self) -> EngineStatus:
        """Whether the server served lately."""
        return "unavailable" if self._breaker.is_open or self._refuses() else "ok"

    def blocking_client(self) -> Redis:
        """A client of its own without a read timeout, for subscriptions and blocking reads; the caller closes it."""
        return Redis.from_url(
            self._url,
            socket_timeout=None,
            socket_connect_timeout=TIMEOUT.total_seconds() * 5,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )

    async def run(self, command: Callable[[Redis], Awaitable[Result]]) -> Result:
        """Run one command or pipeline: `await store.run(lambda redis: redis.get(key))`."""
        if self._refuses() or not self._breaker.allows():
            raise CapabilityUnavailable(capability=self._capability)
        return await self._asked(command)

    async def _asked(self, command: Callable[[Redis], Awaitable[Result]]) -> Result:
        try:
            result = await command(self._client)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self._breaker.failed()
            raise CapabilityUnavailable(capability=self._capability) from error
        except ResponseError as error:
            self._breaker.succeeded()  # it answered
            code = code_of(error)
            if code in OURS:
                raise
            self._refused(code)
            raise CapabilityUnavailable(capability=self._capability) from error
        except (RedisError, asyncio.CancelledError):
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return result

    def _refuses(self) -> bool:
        return time.monotonic() < self._refused_until

    def _refused(self, code: str) -> None:
        if not self._refuses():
            log.warning("redis_cannot_serve", capability=self._capability, code=code)
        self._refused_until = time.monotonic() + REFUSAL_HOLDS.total_seconds()

    async def _keep_watching(self) -> None:
        while True:
            pause = WATCH_EVERY if await self._look() else WATCH_WHILE_AWAY
            await asyncio.sleep(pause.total_seconds())

    async def _look(self) -> bool:
        """Ask with a write, since a full server still answers a ping, and for the time, to correct ours."""
        if not self._breaker.allows():
            return False
        with contextlib.suppress(CapabilityUnavailable, RedisError):
            await self._asked(lambda redis: redis.set(PROBE, b"1", px=WATCH_EVERY * 10))
            self._refused_until = 0.0
            await self.clock.compare(self._time)
            return True
        return False

    async def _time(self) -> int:
        seconds, microseconds = await self._asked(_server_time)
        return seconds * 1_000_000 + microseconds


async def _server_time(redis: Redis) -> tuple[int, int]:
    seconds, microseconds = await redis.time()
    return int(seconds), int(microseconds)
