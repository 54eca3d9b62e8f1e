"""The `seed` command: the starter knowledge base into CQL, waiting up to a minute for it."""

import asyncio
import time
from datetime import timedelta

import structlog

from knowledge_service.domain.articles import PublishedArticle
from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.current_publications import CurrentPublications
from knowledge_service.domain.indexes import Indexes
from knowledge_service.domain.publications import Publication
from knowledge_service.domain.publishing import Publishing
from knowledge_service.domain.seeding import Seeding
from knowledge_service.domain.starter import starter_articles
from knowledge_service.settings import KnowledgeSettings
from knowledge_service.store.announcements import RedisAnnouncements
from knowledge_service.store.articles import CqlArticles
from knowledge_service.store.publications import CqlPublications
from knowledge_service.store.snapshots import DiskSnapshots
from shared.cql import Cql
from shared.errors import CapabilityUnavailable
from shared.redis import RedisStore

log = structlog.get_logger()

PATIENCE = timedelta(seconds=60)


class _NoAccounts:
    """Seeding asks nothing of the accounts."""

    async def wants_sample(self, organization_id: str) -> bool:  # noqa: ARG002 - the Protocol's signature
        return True


async def seed(settings: KnowledgeSettings, patience: timedelta = PATIENCE) -> Publication:
    """Load the starter articles and publish them when they changed; raises CapabilityUnavailable after `patience`."""
    cql = Cql(settings, capability="knowledge")
    redis = RedisStore(settings.data_url, capability="knowledge")
    starter = starter_articles()
    articles, publications = CqlArticles(cql), CqlPublications(cql)
    announcements = RedisAnnouncements(redis)
    snapshots = DiskSnapshots(settings.state_dir)
    current_publications = CurrentPublications(
        publications,
        snapshots,
        hints=announcements,
        organizations=_NoAccounts(),
        indexes=Indexes(Bm25Ranker, memory=settings.index_memory_mib * 1024 * 1024),
        starter=starter,
    )
    seeding = Seeding(articles, publications, Publishing(articles, publications, current_publications, announcements))
    await cql.start()
    try:
        publication = await _patiently(seeding, starter, patience)
    finally:
        await redis.close()
        await cql.close()
    log.info("starter_seeded", epoch=publication.epoch, articles=publication.articles)
    return publication


async def _patiently(seeding: Seeding, starter: list[PublishedArticle], patience: timedelta) -> Publication:
    give_up = time.monotonic() + patience.total_seconds()
    while True:
        try:
            return await seeding.seed(starter)
        except CapabilityUnavailable:
            if time.monotonic() > give_up:
                raise
        await asyncio.sleep(0.5)
