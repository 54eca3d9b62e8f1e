"""The public bodies of chat-service: what people send, and what the OpenAPI document says they get."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from chat_service.domain.turns import Outcome
from shared.contracts import Contract, PublicRequest
from shared.fields import Readable

SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", max_length=35)]


class MessageIn(PublicRequest):
    """A question. A session id of one's own choice is created on first use; without one a new session begins."""

    message: Annotated[Readable, Field(min_length=1, max_length=4_000)]
    session_id: Annotated[str, StringConstraints(pattern=rf"^{SESSION_ID.pattern}$")] | None = None
    language: Language | None = None
    tags: Annotated[list[Annotated[Readable, Field(min_length=1, max_length=64)]], Field(max_length=50)] = []


class FeedbackIn(PublicRequest):
    """What the user thinks of an answer."""

    rating: Literal["up", "down"]
    comment: Annotated[Readable, Field(min_length=1, max_length=2_000)] | None = None


class CitedAnswer(Contract):
    """The verbatim answer with the article and version it comes from."""

    article_id: str
    version: int
    question: str
    text: str


class SuggestionOut(Contract):
    """An article to offer."""

    article_id: str
    question: str
    confidence: float


class UsageOut(Contract):
    """Messages charged this period; `limit` and `remaining` are null without a limit."""

    used: int
    limit: int | None
    remaining: int | None


class MessageOut(Contract):
    """The answer to a message. `message_id` is the id of the answer in the history."""

    session_id: str
    message_id: str
    reply: str
    outcome: Outcome
    answer: CitedAnswer | None
    confidence: float
    suggestions: list[SuggestionOut]
    follow_ups: list[str]
    epoch: int
    scorer: str
    as_of: datetime
    cache: Literal["process", "redis", "none"]
    persisted: Literal["durable", "deferred"]
    degraded: list[str]
    usage: UsageOut
    created_at: datetime


class HistoryMessage(Contract):
    """One message; the optional members are there on answers only."""

    id: str
    role: Literal["user", "assistant", "member"]
    text: str
    outcome: Outcome | None = None
    confidence: float | None = None
    article_id: str | None = None
    rating: Literal["up", "down"] | None = None
    created_at: datetime


class HistoryOut(Contract):
    """Messages of a session, oldest first; `next_cursor` goes back in time. `degraded` while some may be missing."""

    session_id: str
    messages: list[HistoryMessage]
    next_cursor: str | None
    degraded: list[str] = []


class SessionOut(Contract):
    """A session; its title is its first question."""

    session_id: str
    title: str
    created_at: datetime


class SessionsOut(Contract):
    """The user's sessions, newest first."""

    sessions: list[SessionOut]
    next_cursor: str | None


class FeedbackOut(Contract):
    """The feedback as it was kept."""

    message_id: str
    rating: Literal["up", "down"]
    comment: str | None
    persisted: Literal["durable", "deferred"]


class PopularOut(Contract):
    """A question and how often it was asked."""

    question: str
    count: int


class HitRate(Contract):
    """The share of messages answered from a cache, 0-1."""

    hit_rate: float


class Ratings(Contract):
    """How often answers were rated up and down."""

    up: int
    down: int


class Latency(Contract):
    """Milliseconds within the service that half, and 95 of 100, messages took; null before the first."""

    p50: float | None
    p95: float | None


class SummaryOut(Contract):
    """Live counters of the organization."""

    messages: int
    outcomes: dict[str, int]
    cache: HitRate
    popular: list[PopularOut]
    feedback: Ratings
    latency_ms: Latency
    as_of: datetime
