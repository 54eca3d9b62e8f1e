"""Composition root: what notification-service is made of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from notification_service.clients.outbox import TaskWorkerOutbox
from notification_service.domain.inbox import Inboxes
from notification_service.domain.live import Listeners
from notification_service.domain.rebuild import Rebuild
from notification_service.routes import internal, notifications
from notification_service.routes.reader import Pace
from notification_service.settings import NotificationSettings
from notification_service.store.inboxes import RedisInboxes, RedisMarker
from notification_service.store.wakeups import Wakeups
from shared.background import Background, start_all
from shared.cursors import Cursors
from shared.errors import ServiceError
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.redis import RedisStore
from shared.service import Service, create_app

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks whether Redis was emptied."""


@dataclass(frozen=True, slots=True)
class NotificationParts:
    """What the routes are made of."""

    inboxes: Inboxes
    listeners: Listeners
    cursors: Cursors
    pace: Pace


def make_app(settings: NotificationSettings) -> Service:
    """The application of notification-service."""
    redis = RedisStore(settings.data_url, capability="notifications")
    inboxes = RedisInboxes(redis, size=settings.inbox_size, kept=settings.kept)
    signer = IdentitySigner(settings.identity_key, settings.service)
    task_worker = ServiceClient("task-worker", settings.task_worker_url, signer, capability="tasks")

    @asynccontextmanager
    async def lifespan(app: Service) -> AsyncIterator[NotificationParts]:
        listeners = Listeners(settings.max_streams)
        rebuild = Rebuild(RedisMarker(redis), TaskWorkerOutbox(task_worker, settings.kept), inboxes)
        async with AsyncExitStack() as stack:
            await start_all(stack, redis, task_worker)
            background = await stack.enter_async_context(Background())
            background.keep(Wakeups(redis, listeners).run)
            background.keep(partial(_keep_filled, rebuild))
            background.spawn(_close_when_draining(app.draining, listeners))
            yield NotificationParts(
                inboxes=inboxes,
                listeners=listeners,
                cursors=Cursors(settings.cursor_key.get_secret_value().encode()),
                pace=Pace(heartbeat=settings.heartbeat, slowest_reader=settings.slowest_reader),
            )

    return create_app(
        settings,
        lifespan=lifespan,
        routers=(notifications.router, internal.router),
        databases=lambda: {"redis_data": redis.status},
        clock_skew=lambda: redis.clock.skew_ms,
        description="Inboxes and live notifications.",
    )


async def _keep_filled(rebuild: Rebuild) -> None:
    while True:
        try:
            await rebuild.run_if_emptied()
        except ServiceError as error:
            log.debug("rebuild_postponed", code=error.code)
        await asyncio.sleep(LOOK_EVERY)


async def _close_when_draining(draining: asyncio.Event, listeners: Listeners) -> None:
    """Open streams would hold up a shutdown; clients resume on another replica."""
    await draining.wait()
    listeners.close()
