"""What knowledge-service promises to its neighbours: answers over a published epoch."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.contracts import Contract

Outcome = Literal["answered", "clarify", "no_answer", "handoff"]


class EpochAnnounced(Contract):
    """An epoch that answers from now on, announced on redis-data: a message to all, and a key for whoever comes later.

    The message is this as JSON. What the key holds is the epoch alone, as a decimal number. Epochs only rise.
    """

    CHANNEL: ClassVar[str] = "knowledge:epochs"

    organization_id: str
    epoch: Annotated[int, Field(ge=0)]

    @staticmethod
    def key_of(organization_id: str) -> str:
        """Where an organization's last announced epoch is kept."""
        return f"knowledge:epoch:{organization_id}"


class AskRequest(Contract):
    """A question against the published knowledge of one organization."""

    organization_id: str
    question: Annotated[str, Field(min_length=1, max_length=4_000)]
    limit: Annotated[int, Field(ge=1, le=20)] = 5
    language: str | None = None
    tags: list[str] = []


class CitedAnswer(Contract):
    """The verbatim answer with the article and version it comes from."""

    article_id: str
    version: int
    question: str
    text: str


class Suggestion(Contract):
    """An article a person should be offered; never the answered one."""

    article_id: str
    question: str
    confidence: float


class Candidate(Contract):
    """One of the best articles in rank order, the answered one included."""

    article_id: str
    external_id: str | None
    question: str
    confidence: float


class KnowledgeAnswer(Contract):
    """The outcome of a question: bit-identical for the same epoch, scorer and question.

    `confidence` is the calibrated probability (0-1) that the best candidate is right.
    """

    outcome: Outcome
    answer: CitedAnswer | None
    confidence: float
    suggestions: list[Suggestion]
    follow_ups: list[str] = []
    candidates: list[Candidate] = []
    epoch: int
    scorer: str
    as_of: datetime
    degraded: list[str] = []


class EpochState(Contract):
    """The published epoch of an organization (0: it answers from the starter knowledge base or has nothing)."""

    epoch: int
    scorer: str
    as_of: datetime


class RetrieveRequest(Contract):
    """Several queries at once, for research."""

    organization_id: str
    queries: Annotated[list[str], Field(min_length=1, max_length=50)]
    limit: Annotated[int, Field(ge=1, le=20)] = 5


class RetrievedArticle(Contract):
    """An article found for a query."""

    article_id: str
    version: int
    question: str
    answer: str
    score: float
    confidence: float
    tags: list[str] = []


class RetrievedQuery(Contract):
    """The articles found for one query, best first."""

    query: str
    hits: list[RetrievedArticle]


class Retrieved(Contract):
    """The answer to a RetrieveRequest, in the order of its queries."""

    results: list[RetrievedQuery]
    as_of: datetime
