"""Publishing: the articles as they are now become the next epoch, whole, and answer from then on."""

import asyncio
from collections import defaultdict
from typing import Protocol

from knowledge_service.domain.articles import now
from knowledge_service.domain.authoring import ArticleStore
from knowledge_service.domain.current_publications import CurrentPublications, PublicationStore
from knowledge_service.domain.publications import Publication, digest_of, line_of, pack_lines, split
from shared.errors import Conflict
from shared.ids import new_id

ATTEMPTS = 3
"""Times a publish starts again because another replica took the epoch in the meantime."""


class PublishConflict(Conflict):
    """Others are publishing at the same time: try again."""


class Announcements(Protocol):
    """Tells the other replicas, and chat, of a new epoch; losing it costs them up to a second."""

    async def announce(self, organization_id: str, epoch: int) -> None:
        """Say that this epoch answers from now on; never fails."""
        ...


class Publishing:
    """What happens when an admin publishes."""

    def __init__(
        self,
        articles: ArticleStore,
        publications: PublicationStore,
        current_publications: CurrentPublications,
        announcements: Announcements,
    ) -> None:
        self._articles = articles
        self._publications = publications
        self._current_publications = current_publications
        self._announcements = announcements
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def publish(self, organization_id: str) -> Publication:
        """Publish every article as it is now; raises PublishConflict when the epoch was taken three times in a row."""
        async with self._turns[organization_id]:
            for _ in range(ATTEMPTS):
                publication = await self._attempt(organization_id)
                if publication is not None:
                    await self._announcements.announce(organization_id, publication.epoch)
                    return publication
        raise PublishConflict(retry_after=1)

    async def _attempt(self, organization_id: str) -> Publication | None:
        # The epoch is read before the articles: whoever takes the next one later has seen at least what we see.
        head = await self._publications.head(organization_id)
        # Lines rather than articles: a hundred thousand objects would make every collection of garbage stop the loop.
        everything = self._articles.everything(organization_id)
        lines = [(str(article.article_id), line_of(article.published)) async for article in everything]
        packed = await asyncio.to_thread(pack_lines, lines)
        publication = await asyncio.to_thread(_next, organization_id, head, len(lines), packed)
        if not await self._publications.publish(publication, packed):
            return None
        await self._current_publications.install(publication, packed)
        return publication


def _next(organization_id: str, head: Publication | None, articles: int, packed: bytes) -> Publication:
    return Publication(
        organization_id=organization_id,
        epoch=1 if head is None else head.epoch + 1,
        publication_id=new_id(),
        published_at=now(),
        articles=articles,
        chunks=len(split(packed)),
        digest=digest_of(packed),
    )
