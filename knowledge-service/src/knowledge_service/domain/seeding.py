"""Bringing the starter knowledge base up to the articles of this release."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from knowledge_service.domain.articles import Article, PublishedArticle, now
from knowledge_service.domain.authoring import ArticleStore
from knowledge_service.domain.current_publications import STARTER
from knowledge_service.domain.publications import Publication, digest_of, pack


class Head(Protocol):
    """The current publication of an organization."""

    async def head(self, organization_id: str) -> Publication | None:
        """None when nothing was ever published."""
        ...


class Publisher(Protocol):
    """What publishes."""

    async def publish(self, organization_id: str) -> Publication:
        """Publish every article of an organization."""
        ...


class Seeding:
    """Loads the packaged articles under the reserved organization; a second run changes nothing."""

    def __init__(self, articles: ArticleStore, publications: Head, publishing: Publisher) -> None:
        self._articles = articles
        self._publications = publications
        self._publishing = publishing

    async def seed(self, starter: Sequence[PublishedArticle]) -> Publication:
        """Write what is new or changed, remove what is gone, publish when that made a difference."""
        kept = {str(article.article_id): article async for article in self._articles.everything(STARTER)}
        wanted = {article.article_id: article for article in starter}
        for article_id in sorted(kept.keys() - wanted.keys()):
            await self._articles.remove(STARTER, UUID(article_id))
        for article_id, article in wanted.items():
            await self._bring_up(kept.get(article_id), article)
        return await self._published()

    async def _bring_up(self, kept: Article | None, wanted: PublishedArticle) -> None:
        at = now()
        if kept is None:
            fresh = Article(UUID(wanted.article_id), wanted.version, wanted.text, at, at)
            await self._articles.put(STARTER, fresh)
        elif kept.text != wanted.text:
            await self._articles.put(STARTER, kept.changed(wanted.text, at))

    async def _published(self) -> Publication:
        head = await self._publications.head(STARTER)
        current = pack([article.published async for article in self._articles.everything(STARTER)])
        if head is not None and head.digest == digest_of(current):
            return head
        return await self._publishing.publish(STARTER)
