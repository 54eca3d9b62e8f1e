"""An article: a question, the other ways to ask it, and the answer that is given word for word."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID


def now() -> datetime:
    """The time in whole milliseconds, which is what CQL keeps: every replica must report the same."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class ArticleText:
    """What its owner writes; `external_id` is the owner's own name for it."""

    question: str
    answer: str
    alternatives: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str = "en"
    external_id: str | None = None

    @property
    def wordings(self) -> tuple[str, ...]:
        """The question and its alternatives."""
        return (self.question, *self.alternatives)


@dataclass(frozen=True, slots=True)
class Article:
    """An article as its editors see it; `version` rises by one with every change."""

    article_id: UUID
    version: int
    text: ArticleText
    created_at: datetime
    updated_at: datetime

    def changed(self, text: ArticleText, at: datetime) -> "Article":
        """The next version."""
        return replace(self, version=self.version + 1, text=text, updated_at=at)

    @property
    def published(self) -> "PublishedArticle":
        """This version as it goes into a publication."""
        return PublishedArticle(str(self.article_id), self.version, self.text)


@dataclass(frozen=True, slots=True)
class PublishedArticle:
    """One version of an article inside a published epoch."""

    article_id: str
    version: int
    text: ArticleText
