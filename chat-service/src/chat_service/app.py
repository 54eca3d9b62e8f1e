"""The composition root of chat-service."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx2
import structlog

from chat_service.clients.accounts import AuthAccounts
from chat_service.clients.knowledge import KnowledgeAnswers
from chat_service.domain.analytics import Analytics
from chat_service.domain.answers import CachedAnswers
from chat_service.domain.conversation import Conversation
from chat_service.domain.epochs import Epochs
from chat_service.domain.exports import Exports
from chat_service.domain.quota import Quota
from chat_service.routes import analytics, history, internal, messages
from chat_service.settings import ChatSettings
from chat_service.store.announcements import Announcements, RedisEpochs
from chat_service.store.answer_cache import RedisAnswers
from chat_service.store.conversations import CqlConversations
from chat_service.store.counters import RedisCounters
from chat_service.store.deferred import DeferringConversations, DiskQueue, RedisQueue
from chat_service.store.journal import Journal, Slot
from chat_service.store.keyed_replies import StoredReplies
from chat_service.store.recent import RecentTurns
from chat_service.store.usage_journal import DiskUsage
from shared.background import Background, start_all
from shared.cql import Cql
from shared.cursors import Cursors
from shared.degradation import EngineStatus
from shared.errors import CapabilityUnavailable
from shared.http_client import ServiceClient
from shared.idempotency import Idempotency
from shared.identity import IdentitySigner
from shared.ids import new_id
from shared.metrics import LOST
from shared.redis import RedisStore
from shared.service import Service, create_app

log = structlog.get_logger()

Transports = Mapping[str, httpx2.AsyncBaseTransport]


class Engines:
    """The databases and neighbours of this process; `transports` replace the network to neighbours, for tests."""

    def __init__(self, settings: ChatSettings, transports: Transports) -> None:
        signer = IdentitySigner(settings.identity_key, settings.service)
        self.cql = Cql(settings, capability="conversations")
        self.cache = RedisStore(settings.cache_url, capability="cache")
        self.data = RedisStore(settings.data_url, capability="conversations")
        self.auth = ServiceClient(
            "auth-service",
            settings.auth_service_url,
            signer,
            capability="accounts",
            transport=transports.get("auth-service"),
        )
        self.knowledge = ServiceClient(
            "knowledge-service",
            settings.knowledge_service_url,
            signer,
            capability="knowledge",
            transport=transports.get("knowledge-service"),
        )

    def databases(self) -> Mapping[str, EngineStatus]:
        """How the databases are, as this process sees them."""
        return {"cql": self.cql.status, "redis_cache": self.cache.status, "redis_data": self.data.status}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected, or trying to be."""
        async with AsyncExitStack() as stack:
            await start_all(stack, self.cql, self.cache, self.data, self.auth, self.knowledge)
            yield


@dataclass(frozen=True, slots=True)
class ChatParts:
    """What the routes are made of."""

    conversation: Conversation
    idempotency: Idempotency
    analytics: Analytics
    exports: Exports
    cursors: Cursors


def make_app(settings: ChatSettings, transports: Transports | None = None) -> Service:
    """The application."""
    engines = Engines(settings, transports or {})

    @asynccontextmanager
    async def lifespan(_app: Service) -> AsyncIterator[ChatParts]:
        async with engines.running(), _composed(settings, engines) as parts:
            yield parts

    return create_app(
        settings,
        lifespan=lifespan,
        routers=(history.router, analytics.router, internal.router),
        operations=(messages.router,),
        databases=engines.databases,
        clock_skew=lambda: engines.data.clock.skew_ms,
        description="Messages, sessions and history of MultiDB.",
    )


@asynccontextmanager
async def _composed(settings: ChatSettings, engines: Engines) -> AsyncIterator[ChatParts]:
    """The domain over its stores, with what works in the background."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()}"
    slot = Slot(settings.state_dir)
    usage, deferred = Journal(slot, "usage"), Journal(slot, "deferred")
    knowledge = KnowledgeAnswers(engines.knowledge)
    epochs = Epochs(RedisEpochs(engines.data), knowledge)
    answers = CachedAnswers(
        knowledge, RedisAnswers(engines.cache), epochs, ttl=settings.answer_ttl, size=settings.answers_in_process
    )
    quota = Quota(AuthAccounts(engines.auth, holder), DiskUsage(usage))
    counters = Analytics(RedisCounters(engines.data))
    stored = CqlConversations(engines.cql, engines.data.clock)
    recent = RecentTurns(engines.data)
    announcements = Announcements(engines.data, on_epoch=epochs.announce, on_deleted=stored.forget)
    queues = (RedisQueue(engines.data), DiskQueue(deferred))
    turns = DeferringConversations(stored, queues, recent, announcements, on_rated=counters.count_rating)
    replies = StoredReplies(engines.data, engines.cql, holder)

    async with AsyncExitStack() as stack:
        for kept in (slot, deferred, usage):
            stack.callback(kept.close)
        stack.push_async_callback(_last_counters, counters)
        stack.push_async_callback(recent.add_waiting)
        stack.push_async_callback(quota.close)
        stack.push_async_callback(answers.close)
        background = await stack.enter_async_context(Background())
        for loop in (
            epochs.keep_fresh,
            announcements.keep_listening,
            quota.keep_settling,
            counters.keep_adding,
            recent.keep_adding,
            partial(turns.keep_draining, lambda: engines.cql.status != "ok"),
            replies.keep_alive,
            usage.keep_synced,
            deferred.keep_synced,
        ):
            background.keep(loop)
        yield ChatParts(
            conversation=Conversation(
                turns, answers, quota, counters, _degraded(engines, quota, epochs), stamp=engines.data.clock.now
            ),
            idempotency=Idempotency(replies, holder),
            analytics=counters,
            exports=Exports(stored),
            cursors=Cursors(settings.cursor_key.get_secret_value().encode()),
        )


def _degraded(engines: Engines, quota: Quota, epochs: Epochs) -> Callable[[], tuple[str, ...]]:
    """The capabilities that are not whole at this moment, whatever the message."""

    def degraded() -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        if engines.cache.status != "ok":
            found += ("cache",)
        if quota.is_degraded:
            found += ("accounts",)
        if epochs.is_degraded:
            found += ("knowledge",)
        return found

    return degraded


async def _last_counters(counters: Analytics) -> None:
    try:
        await counters.add_up()
    except CapabilityUnavailable:
        log.warning("counters_lost")
        LOST.labels("counters").inc()
