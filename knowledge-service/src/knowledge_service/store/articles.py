"""Articles in CQL: the current version in 8 buckets an organization, every version beside it."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

from knowledge_service.domain.articles import Article, ArticleText
from shared.cql import Cql, Row

BUCKETS = 8
READ_AT_ONCE = 100
"""Rows of a page become articles on the event loop, 20 microseconds each."""
KEPT_VERSIONS = 100

FIND = (
    "SELECT article_id, version, question, alternatives, answer, tags, language, external_id, created_at, updated_at "
    "FROM articles WHERE organization_id = ? AND bucket = ? AND article_id = ?"
)
NEWEST = (
    "SELECT article_id, version, question, alternatives, answer, tags, language, external_id, created_at, updated_at "
    "FROM articles WHERE organization_id = ? AND bucket = ? LIMIT ?"
)
NEWEST_BEFORE = (
    "SELECT article_id, version, question, alternatives, answer, tags, language, external_id, created_at, updated_at "
    "FROM articles WHERE organization_id = ? AND bucket = ? AND article_id < ? LIMIT ?"
)
PUT = (
    "INSERT INTO articles (organization_id, bucket, article_id, version, question, alternatives, answer, tags, "
    "language, external_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REMOVE = "DELETE FROM articles WHERE organization_id = ? AND bucket = ? AND article_id = ?"
PUT_VERSION = (
    "INSERT INTO article_versions (organization_id, article_id, version, question, alternatives, answer, tags, "
    "language, external_id, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
VERSIONS = (
    "SELECT version, question, alternatives, answer, tags, language, external_id, updated_at "
    "FROM article_versions WHERE organization_id = ? AND article_id = ? LIMIT ?"
)
REMOVE_VERSIONS = "DELETE FROM article_versions WHERE organization_id = ? AND article_id = ?"
TRIM_VERSIONS = "DELETE FROM article_versions WHERE organization_id = ? AND article_id = ? AND version <= ?"


def bucket_of(article_id: UUID) -> int:
    """The bucket an article is in, by the random end of its id."""
    return article_id.int % BUCKETS


class CqlArticles:
    """The articles of every organization; an absent external id is kept as an empty text, since NULLs are not bound."""

    def __init__(self, cql: Cql) -> None:
        self._cql = cql

    async def find(self, organization_id: str, article_id: UUID) -> Article | None:
        """The article, unless it is absent or was removed."""
        rows = await self._cql.execute(FIND, (organization_id, bucket_of(article_id), article_id))
        return _article(rows[0]) if rows else None

    async def put(self, organization_id: str, article: Article) -> None:
        """Store this version as the current one; its own row first, so that a current version is never unknown."""
        text = _columns(article.text)
        await self._cql.execute(
            PUT_VERSION, (organization_id, article.article_id, article.version, *text, article.updated_at)
        )
        if article.version > KEPT_VERSIONS:
            oldest = article.version - KEPT_VERSIONS
            await self._cql.execute(TRIM_VERSIONS, (organization_id, article.article_id, oldest))
        place = (organization_id, bucket_of(article.article_id), article.article_id)
        await self._cql.execute(PUT, (*place, article.version, *text, article.created_at, article.updated_at))

    async def remove(self, organization_id: str, article_id: UUID) -> None:
        """Remove the article and its versions."""
        await self._cql.execute(REMOVE, (organization_id, bucket_of(article_id), article_id))
        await self._cql.execute(REMOVE_VERSIONS, (organization_id, article_id))

    async def page(self, organization_id: str, before: UUID | None, limit: int) -> list[Article]:
        """Up to `limit` articles made before that one, newest first, merged from the buckets."""
        pages = await asyncio.gather(
            *(self._bucket(organization_id, bucket, before, limit) for bucket in range(BUCKETS))
        )
        merged = heapq.merge(*pages, key=lambda article: article.article_id, reverse=True)
        return [article for article, _ in zip(merged, range(limit), strict=False)]

    async def everything(self, organization_id: str) -> AsyncIterator[Article]:
        """Every article, bucket by bucket."""
        for bucket in range(BUCKETS):
            before: UUID | None = None
            while True:
                articles = await self._bucket(organization_id, bucket, before, READ_AT_ONCE)
                for article in articles:
                    yield article
                if len(articles) < READ_AT_ONCE:
                    break
                before = articles[-1].article_id

    async def versions(self, organization_id: str, article_id: UUID, limit: int) -> list[Article]:
        """The latest versions, newest first."""
        rows = await self._cql.execute(VERSIONS, (organization_id, article_id, limit))
        return [
            Article(article_id, row.version, _text(row), _utc(row.updated_at), _utc(row.updated_at)) for row in rows
        ]

    async def _bucket(self, organization_id: str, bucket: int, before: UUID | None, limit: int) -> list[Article]:
        if before is None:
            rows = await self._cql.execute(NEWEST, (organization_id, bucket, limit))
        else:
            rows = await self._cql.execute(NEWEST_BEFORE, (organization_id, bucket, before, limit))
        return [_article(row) for row in rows]


def _columns(text: ArticleText) -> tuple[str, list[str], str, list[str], str, str]:
    return (
        text.question,
        list(text.alternatives),
        text.answer,
        list(text.tags),
        text.language,
        text.external_id or "",
    )


def _text(row: Row) -> ArticleText:
    return ArticleText(
        question=row.question,
        answer=row.answer,
        alternatives=tuple(row.alternatives or ()),
        tags=tuple(row.tags or ()),
        language=row.language,
        external_id=row.external_id or None,
    )


def _article(row: Row) -> Article:
    return Article(row.article_id, row.version, _text(row), _utc(row.created_at), _utc(row.updated_at))


def _utc(naive: datetime) -> datetime:
    """CQL timestamps come back without a zone."""
    return naive.replace(tzinfo=UTC)
