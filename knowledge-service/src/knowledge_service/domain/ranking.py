"""Which published articles answer a question, best first, and how sure that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from knowledge_service.domain.articles import PublishedArticle


@dataclass(frozen=True, slots=True)
class Hit:
    """An article for a question.

    `confidence` is the calibrated probability that it is the right one; `covers` is the share of what was asked about
    that its wordings speak of, 0 to 1.
    """

    article: PublishedArticle
    score: float
    confidence: float
    covers: float


Accepts = Callable[[PublishedArticle], bool]


class Ranker(Protocol):
    """An immutable index over the articles of one publication: the same question always gives the same hits."""

    @property
    def scorer(self) -> str:
        """The name and version of the method; another name means that results may differ."""
        ...

    @property
    def articles(self) -> Sequence[PublishedArticle]:
        """The articles it ranks."""
        ...

    def rank(self, question: str, limit: int, accepts: Accepts | None = None) -> list[Hit]:
        """Up to `limit` articles, best first, of those that `accepts` lets through."""
        ...


class RankerFactory(Protocol):
    """Builds a ranker."""

    scorer: str

    def __call__(self, articles: Sequence[PublishedArticle], pause: Callable[[], None] = ...) -> Ranker:
        """The ranker over these articles; `pause` is called after every one of them."""
        ...
