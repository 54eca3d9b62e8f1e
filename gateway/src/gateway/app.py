"""Composition root of the gateway."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.clients.auth_service import PublishedKeys, RevocationFeed
from gateway.clients.calls import OwnCalls
from gateway.clients.documents import Documents
from gateway.clients.monitor import Monitor
from gateway.clients.upstream import PooledUpstream
from gateway.domain.addresses import ClientAddresses
from gateway.domain.health import PROVIDED_BY
from gateway.domain.rate_limits import Limit
from gateway.domain.throttle import RateLimits, SharedBuckets
from gateway.domain.tokens import Revoked, Tokens
from gateway.routes import accounts, chat, knowledge, notifications, own, tasks
from gateway.routes.access_log import AccessLog
from gateway.routes.entrance import Entrance, pools
from gateway.routes.gateway import Gateway
from gateway.routes.pages import DocumentPages, HealthPages, HomePage, own_pages
from gateway.routes.table import RouteTable
from gateway.settings import GatewaySettings
from gateway.store.buckets import RedisBuckets
from shared import __version__
from shared.background import Background, start_all
from shared.identity import IdentitySigner
from shared.logs import BatchedWriter
from shared.metrics import RequestMetrics
from shared.redis import RedisStore

FIRST_TRY = timedelta(seconds=1)

ROUTES = (
    *own.ROUTES,
    *accounts.ROUTES,
    *chat.ROUTES,
    *knowledge.ROUTES,
    *notifications.ROUTES,
    *tasks.ROUTES,
)


class App:
    """The gateway as a server sees it: composed at startup, taken apart at shutdown."""

    def __init__(
        self, settings: GatewaySettings, *, log_requests: bool = True, buckets: SharedBuckets | None = None
    ) -> None:
        """`buckets` replaces those in redis-data, for tests."""
        self._settings = settings
        self._log_requests = log_requests
        self._buckets = buckets
        self._gateway: ASGIApp | None = None
        self.metrics = RequestMetrics(settings.service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and self._gateway is not None:
            await self._gateway(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ASGIApp]:
        """The composed gateway with its background work, until the block ends."""
        access_log = AccessLog(BatchedWriter(sys.stdout.buffer) if self._log_requests else None)
        async with compose(self._settings, self.metrics, access_log, self._buckets) as gateway:
            self._gateway = gateway
            yield gateway


@asynccontextmanager
async def compose(
    settings: GatewaySettings, metrics: RequestMetrics, access_log: AccessLog, buckets: SharedBuckets | None
) -> AsyncIterator[Gateway]:
    """Build everything, start what works in the background, and stop it in the end."""
    signer = IdentitySigner(settings.identity_key, settings.service)
    upstreams = {
        name: PooledUpstream(name, urls, capability=PROVIDED_BY[name]) for name, urls in settings.upstreams.items()
    }
    calls = {name: OwnCalls(upstream, signer) for name, upstream in upstreams.items()}
    redis = RedisStore(settings.data_url, capability="notifications")
    limits = RateLimits(buckets or RedisBuckets(redis))
    revoked = Revoked()
    auth = calls["auth-service"]
    keys = PublishedKeys(auth, issuer=settings.token_issuer, audience=settings.token_audience)
    revocations = RevocationFeed(auth, revoked)
    monitor = Monitor(__version__, list(calls.values()), lambda: {"redis_data": redis.status})
    documents = Documents(list(calls.values()))
    table = RouteTable(ROUTES)
    gateway = Gateway(
        table=table,
        pages=own_pages(HomePage(__version__), HealthPages(monitor), DocumentPages(__version__, table, documents)),
        upstreams=upstreams,
        tokens=Tokens(keys, revoked),
        limits=limits,
        anonymous=Limit(settings.anonymous_rate, settings.anonymous_burst),
        addresses=ClientAddresses(settings.trusted_proxies),
        signer=signer,
        metrics=metrics,
        access_log=access_log,
        entrance=Entrance(pools(settings.max_in_flight)),
    )
    async with AsyncExitStack() as stack:
        await start_all(stack, *upstreams.values(), redis)
        await monitor.look()
        await _try_once(keys.refresh, revocations.refresh)
        background = await stack.enter_async_context(Background())
        for loop in (keys.run, revocations.run, monitor.run, documents.run, limits.run):
            background.keep(loop)
        yield gateway


async def _try_once(*works: Callable[[], Awaitable[None]]) -> None:
    """What the first request needs, so that a gateway which takes another's place refuses nobody; at most a second.

    Whatever fails here is tried again, and reported, by the work in the background.
    """
    tasks = [asyncio.ensure_future(work()) for work in works]
    _, late = await asyncio.wait(tasks, timeout=FIRST_TRY.total_seconds())
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
