"""The composition root of the knowledge-service: opens connections, builds the parts, mounts the routes."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from knowledge_service.clients.import_reader import ImportReader
from knowledge_service.clients.index_process import IndexProcess
from knowledge_service.clients.organizations import AuthOrganizations
from knowledge_service.domain.answering import Answering
from knowledge_service.domain.authoring import Authoring
from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.current_publications import CurrentPublications
from knowledge_service.domain.import_files import Limits
from knowledge_service.domain.importing import Importing
from knowledge_service.domain.indexes import Indexes, Room
from knowledge_service.domain.publishing import Publishing
from knowledge_service.domain.starter import starter_articles
from knowledge_service.routes import answers, articles, imports
from knowledge_service.settings import KnowledgeSettings
from knowledge_service.store.announcements import RedisAnnouncements
from knowledge_service.store.articles import CqlArticles
from knowledge_service.store.imports import CqlImports
from knowledge_service.store.keyed_replies import CqlKeyedReplies
from knowledge_service.store.publications import CqlPublications
from knowledge_service.store.snapshots import DiskSnapshots
from shared.background import start_all
from shared.cql import Cql
from shared.cursors import Cursors
from shared.degradation import EngineStatus
from shared.http_client import ServiceClient
from shared.idempotency import Idempotency
from shared.identity import IdentitySigner
from shared.ids import new_id
from shared.redis import RedisStore
from shared.service import Service, create_app

MIB = 1024 * 1024
MEDIUM = 4 * MIB
"""Bytes of articles, about 5,000 of them, that rank within 20 ms."""
ROOM_TO_WORK = 512 * MIB
"""Address space of an index process beside its indexes: the interpreter, and articles while they are read."""


@dataclass(frozen=True, slots=True)
class KnowledgeParts:
    """What the routes are made of."""

    authoring: Authoring
    publishing: Publishing
    importing: Importing
    answering: Answering
    idempotency: Idempotency
    cursors: Cursors


def make_app(settings: KnowledgeSettings) -> Service:
    """The application; it serves as soon as it starts, whatever engine is away."""
    cql = Cql(settings, capability="knowledge")
    redis = RedisStore(settings.data_url, capability="knowledge")
    auth = ServiceClient(
        "auth-service",
        settings.auth_service_url,
        IdentitySigner(settings.identity_key, settings.service),
        capability="accounts",
        deadline=settings.accounts_deadline,
    )
    stored = CqlArticles(cql)
    memory = settings.index_memory_mib * MIB
    # Those of some thousand articles never wait for one of a hundred thousand: each size has a process of its own.
    medium, large = IndexProcess(ROOM_TO_WORK + memory), IndexProcess(ROOM_TO_WORK + 2 * memory)
    rooms = (Room(medium, MEDIUM, memory // 4), Room(large, sys.maxsize, memory // 2))
    reader = ImportReader(
        Limits(rows=settings.import_rows, headings=settings.import_headings),
        memory_mib=settings.import_memory_mib,
        work=settings.import_work,
    )
    publications = CqlPublications(cql)
    announcements = RedisAnnouncements(redis)
    current_publications = CurrentPublications(
        publications,
        DiskSnapshots(settings.state_dir),
        hints=announcements,
        organizations=AuthOrganizations(auth),
        indexes=Indexes(Bm25Ranker, memory=memory // 4, rooms=rooms),
        starter=starter_articles(),
    )

    @asynccontextmanager
    async def lifespan(_app: Service) -> AsyncIterator[KnowledgeParts]:
        publishing = Publishing(stored, publications, current_publications, announcements)
        importing = Importing(
            stored,
            CqlImports(cql),
            publishing,
            reader,
            imports.checked_row,
            at_most=settings.import_deadline,
        )
        async with AsyncExitStack() as stack:
            await start_all(stack, cql, redis, auth)
            stack.push_async_callback(medium.close)
            stack.push_async_callback(large.close)
            stack.push_async_callback(announcements.close)
            await announcements.start(current_publications.heard)
            await current_publications.load_starter()
            stack.push_async_callback(importing.stop)
            yield KnowledgeParts(
                authoring=Authoring(stored, current_publications.published_versions),
                publishing=publishing,
                importing=importing,
                answering=Answering(current_publications),
                idempotency=Idempotency(CqlKeyedReplies(cql, redis), holder=str(new_id())),
                cursors=Cursors(settings.cursor_key.get_secret_value().encode()),
            )

    def databases() -> dict[str, EngineStatus]:
        return {"cql": cql.status, "redis_data": redis.status}

    return create_app(
        settings,
        lifespan=lifespan,
        routers=(articles.router, imports.router, answers.router, answers.internal),
        operations=(answers.hot,),
        databases=databases,
        clock_skew=lambda: redis.clock.skew_ms,
        description="Articles, publishing and answering.",
    )
