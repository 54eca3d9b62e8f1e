"""What editors do with articles: draft, read, change, remove, list. None of it answers before it is published."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol
from uuid import UUID

from knowledge_service.domain.articles import Article, ArticleText, now
from knowledge_service.domain.text import normalise
from shared.errors import NotFound
from shared.ids import new_id

Status = Literal["draft", "published"]

PAGE = 100
"""Articles read at a time while a filter looks for matches."""
SCANNED = 1_000
"""Articles looked at for one page of a filtered list; a page may come back short, with a cursor to go on."""


class ArticleNotFound(NotFound):
    """There is no article with this id."""


class ArticleStore(Protocol):
    """The articles of every organization, as their editors see them."""

    async def find(self, organization_id: str, article_id: UUID) -> Article | None:
        """The article, unless it is absent or was removed."""
        ...

    async def put(self, organization_id: str, article: Article) -> None:
        """Store this version as the current one; the same version may be stored again."""
        ...

    async def remove(self, organization_id: str, article_id: UUID) -> None:
        """Remove the article and its versions; an absent one is fine."""
        ...

    async def page(self, organization_id: str, before: UUID | None, limit: int) -> list[Article]:
        """Up to `limit` articles made before that one, newest first."""
        ...

    def everything(self, organization_id: str) -> AsyncIterator[Article]:
        """Every article, in no order that means anything."""
        ...

    async def versions(self, organization_id: str, article_id: UUID, limit: int) -> list[Article]:
        """The latest versions of an article, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """An article with what became of it: `published_version` is the version that answers now, if any does."""

    article: Article
    published_version: int | None

    @property
    def status(self) -> Status:
        """Published when the current version answers, else a draft."""
        return "published" if self.published_version == self.article.version else "draft"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which articles of a list are wanted; `q` is looked for in the wordings and the answer."""

    status: Status | None = None
    tag: str | None = None
    q: str | None = None

    def accept(self, listed: Listed) -> bool:
        """Whether an article passes."""
        text = listed.article.text
        if self.status is not None and listed.status != self.status:
            return False
        if self.tag is not None and self.tag not in text.tags:
            return False
        wanted = normalise(self.q or "")
        return not wanted or any(wanted in normalise(part) for part in (*text.wordings, text.answer))

    @property
    def accept_everything(self) -> bool:
        """Whether nothing is filtered out."""
        return self == Filters()


PublishedVersions = Callable[[str, Sequence[str]], Awaitable[Mapping[str, int]]]
"""The versions that answer now, of those of an organization's articles that are named."""


class Authoring:
    """What happens when an editor works on articles."""

    def __init__(self, articles: ArticleStore, published_versions: PublishedVersions) -> None:
        self._articles = articles
        self._published_versions = published_versions

    async def draft_article(self, organization_id: str, text: ArticleText) -> Listed:
        """Draft a new article."""
        at = now()
        article = Article(new_id(), 1, text, at, at)
        await self._articles.put(organization_id, article)
        return Listed(article, None)

    async def get_article(self, organization_id: str, article_id: UUID) -> Listed:
        """The article; raises ArticleNotFound."""
        article = await self._get(organization_id, article_id)
        return await self._listed(organization_id, article)

    async def change_article(self, organization_id: str, article_id: UUID, changes: Mapping[str, object]) -> Listed:
        """Make the next version; changes that change nothing make none. Raises ArticleNotFound."""
        article = await self._get(organization_id, article_id)
        text = replace(article.text, **changes)  # type: ignore[arg-type]  # the route validated each by its field
        if text != article.text:
            article = article.changed(text, now())
            await self._articles.put(organization_id, article)
        return await self._listed(organization_id, article)

    async def delete_article(self, organization_id: str, article_id: UUID) -> None:
        """Remove an article; it answers until the next publish. Raises ArticleNotFound."""
        await self._get(organization_id, article_id)
        await self._articles.remove(organization_id, article_id)

    async def list_versions(self, organization_id: str, article_id: UUID, limit: int) -> list[Listed]:
        """The latest versions, newest first. Raises ArticleNotFound."""
        article = await self._get(organization_id, article_id)
        published = await self._published(organization_id, article_id)
        versions = await self._articles.versions(organization_id, article_id, limit)
        return [Listed(replace(version, created_at=article.created_at), published) for version in versions]

    async def list_articles(
        self, organization_id: str, filters: Filters, before: UUID | None, limit: int
    ) -> tuple[list[Listed], UUID | None]:
        """A page of articles, newest first, and the id to go on before (None at the end)."""
        found: list[Listed] = []
        size = limit + 1 if filters.accept_everything else PAGE
        for _ in range(max(1, SCANNED // size)):
            page = await self._articles.page(organization_id, before, size)
            ids = [str(article.article_id) for article in page]
            published = await self._published_versions(organization_id, ids)
            for article in page:
                listed = Listed(article, published.get(str(article.article_id)))
                if filters.accept(listed):
                    if len(found) == limit:
                        return found, before
                    found.append(listed)
                before = article.article_id
            if len(page) < size:
                return found, None
        return found, before

    async def _get(self, organization_id: str, article_id: UUID) -> Article:
        article = await self._articles.find(organization_id, article_id)
        if article is None:
            raise ArticleNotFound
        return article

    async def _listed(self, organization_id: str, article: Article) -> Listed:
        return Listed(article, await self._published(organization_id, article.article_id))

    async def _published(self, organization_id: str, article_id: UUID) -> int | None:
        name = str(article_id)
        return (await self._published_versions(organization_id, [name])).get(name)
