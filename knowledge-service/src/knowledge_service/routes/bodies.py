"""What the public sends and gets about articles: shapes and limits, nothing else."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from knowledge_service.domain.articles import ArticleText
from knowledge_service.domain.authoring import Listed
from shared.contracts import PublicRequest
from shared.fields import Readable

QUESTION = 1_000
ANSWER = 20_000
ALTERNATIVES = 300
TAGS = 50
TAG = 64


def _without_repeats(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


Wording = Annotated[Readable, Field(min_length=1, max_length=QUESTION)]
AnswerText = Annotated[Readable, Field(min_length=1, max_length=ANSWER)]
Alternatives = Annotated[list[Wording], Field(max_length=ALTERNATIVES), AfterValidator(_without_repeats)]
Tag = Annotated[Readable, Field(min_length=1, max_length=TAG)]
Tags = Annotated[list[Tag], Field(max_length=TAGS), AfterValidator(_without_repeats)]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]
ExternalId = Annotated[Readable, Field(min_length=1, max_length=200)]
Query = Annotated[Readable, Field(min_length=1, max_length=4_000)]


class ArticleIn(PublicRequest):
    """A new article."""

    question: Wording
    alternatives: Alternatives = []
    answer: AnswerText
    tags: Tags = []
    language: Language = "en"
    external_id: ExternalId | None = None

    def as_text(self) -> ArticleText:
        """The article as the domain keeps it."""
        return ArticleText(
            question=self.question,
            answer=self.answer,
            alternatives=tuple(self.alternatives),
            tags=tuple(self.tags),
            language=self.language,
            external_id=self.external_id,
        )


class ArticleChanges(PublicRequest):
    """The fields to change; those left out stay."""

    question: Wording = ""
    alternatives: Alternatives = []
    answer: AnswerText = ""
    tags: Tags = []
    language: Language = "en"
    external_id: ExternalId | None = None

    def as_changes(self) -> dict[str, object]:
        """What was sent, as the domain keeps it."""
        sent = self.model_dump(exclude_unset=True)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in sent.items()}


class ArticleOut(BaseModel):
    """An article as its editors see it; `published_version` is the version that answers now."""

    id: str
    version: int
    status: Literal["draft", "published"]
    published_version: int | None
    question: str
    alternatives: list[str]
    answer: str
    tags: list[str]
    language: str
    external_id: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, listed: Listed) -> "ArticleOut":
        """The article as the public sees it."""
        article, text = listed.article, listed.article.text
        return cls(
            id=str(article.article_id),
            version=article.version,
            status=listed.status,
            published_version=listed.published_version,
            question=text.question,
            alternatives=list(text.alternatives),
            answer=text.answer,
            tags=list(text.tags),
            language=text.language,
            external_id=text.external_id,
            created_at=article.created_at,
            updated_at=article.updated_at,
        )


class ArticleList(BaseModel):
    """A page of articles, newest first."""

    articles: list[ArticleOut]
    next_cursor: str | None


class ArticleVersions(BaseModel):
    """The latest versions of an article, newest first."""

    versions: list[ArticleOut]


class PublishedOut(BaseModel):
    """The epoch that answers from now on."""

    epoch: int
    articles: int
    published_at: datetime


class AskIn(PublicRequest):
    """A question to try out."""

    question: Query
    limit: Annotated[int, Field(strict=True, ge=1, le=20)] = 5
    language: Language | None = None
    tags: Tags = []


class SearchResult(BaseModel):
    """An article found."""

    article_id: str
    question: str
    answer: str
    score: float
    confidence: float


class SearchResults(BaseModel):
    """The articles found, best first; `as_of` is when the knowledge they come from was published."""

    results: list[SearchResult]
    as_of: datetime
    degraded: list[str] = []
