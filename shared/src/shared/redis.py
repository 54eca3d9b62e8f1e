"""Redis (or Valkey) with the timeouts and the breaker that keep a frozen server from freezing us."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.breaker import Breaker
from shared.contracts.health import EngineStatus
from shared.errors import CapabilityUnavailable

Result = TypeVar("Result")

TIMEOUT = timedelta(milliseconds=100)
UNREADY = ("LOADING", "MASTERDOWN", "READONLY", "MISCONF", "OOM", "BUSY")


class RedisStore:
    """One Redis behind a breaker. Losing it raises CapabilityUnavailable(`capability`) within 100 ms or at once.

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
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Watch the server in the background, so that its return is noticed without traffic."""
        self._watch = asyncio.create_task(self._keep_watching())

    async def close(self) -> None:
        """Close every connection."""
        if self._watch is not None:
            self._watch.cancel()
        await self._client.aclose(close_connection_pool=True)

    @property
    def status(self) -> EngineStatus:
        """Whether the server answered lately."""
        return "unavailable" if self._breaker.is_open else "ok"

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
        if not self._breaker.allows():
            raise CapabilityUnavailable(capability=self._capability)
        try:
            result = await command(self._client)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self._breaker.failed()
            raise CapabilityUnavailable(capability=self._capability) from error
        except ResponseError as error:
            if str(error).startswith(UNREADY):
                self._breaker.failed()
                raise CapabilityUnavailable(capability=self._capability) from error
            self._breaker.succeeded()
            raise
        except (RedisError, asyncio.CancelledError):
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return result

    async def _keep_watching(self) -> None:
        while True:
            try:
                await self.run(lambda redis: redis.ping())
            except CapabilityUnavailable:
                await asyncio.sleep(0.5)
            else:
                await asyncio.sleep(1)
