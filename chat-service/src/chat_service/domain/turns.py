"""The nouns of a conversation: answers, turns, messages and sessions."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from chat_service.domain import message_ids

Outcome = Literal["answered", "clarify", "no_answer", "handoff"]
Rating = Literal["up", "down"]
Persisted = Literal["durable", "deferred"]
CacheLevel = Literal["process", "redis", "none"]

RETENTION = {"free": timedelta(days=90), "pro": timedelta(days=365), "enterprise": timedelta(days=1_095)}
"""How long a turn is kept, by the plan at the time it was made."""
TITLE_LENGTH = 120

NOTHING_FOUND = "I do not know the answer to that. Please try other words, or ask a person."
HAND_OVER = "I cannot answer that myself. A person should take over from here."
DID_YOU_MEAN = "I am not sure what you mean. Did you mean one of these?"


@dataclass(frozen=True, slots=True)
class Citation:
    """The verbatim answer with the article and version it comes from."""

    article_id: str
    version: int
    question: str
    text: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An article a person should be offered."""

    article_id: str
    question: str
    confidence: float


@dataclass(frozen=True)
class Answer:
    """What the knowledge base says to a question, the same for the same epoch, scorer and question."""

    outcome: Outcome
    citation: Citation | None
    confidence: float
    suggestions: tuple[Suggestion, ...]
    follow_ups: tuple[str, ...]
    epoch: int
    scorer: str
    as_of: datetime

    @cached_property
    def reply(self) -> str:
        """The text to show, always there."""
        if self.citation is not None:
            return self.citation.text
        if self.outcome == "clarify" and self.suggestions:
            return "\n".join([DID_YOU_MEAN, *(f"- {s.question}" for s in self.suggestions)])
        return HAND_OVER if self.outcome == "handoff" else NOTHING_FOUND

    @cached_property
    def public(self) -> dict[str, Any]:
        """Its part of the reply as JSON values; kept, since a popular answer is sent very often."""
        return {
            "reply": self.reply,
            "outcome": self.outcome,
            "answer": self.citation,
            "confidence": self.confidence,
            "suggestions": self.suggestions,
            "follow_ups": self.follow_ups,
            "epoch": self.epoch,
            "scorer": self.scorer,
            "as_of": self.as_of,
        }


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversations these are: a user within an organization."""

    organization_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer, as it is kept.

    `written_at` (a stamp of `shared.clock`) orders it against deletions: a turn written late must not come back after
    its session was deleted. `opens_session`: nobody can have used the session id before.
    """

    owner: Owner
    session_id: str
    message_id: UUID
    question: str
    reply: str
    outcome: Outcome
    confidence: float
    article_id: str | None
    article_version: int | None
    epoch: int
    scorer: str
    retention: timedelta
    written_at: int
    opens_session: bool = False

    @property
    def title(self) -> str:
        """What a session that starts with this turn is called."""
        return self.question.strip()[:TITLE_LENGTH]

    @property
    def day(self) -> int:
        """The day it was made."""
        return message_ids.day_of(self.message_id)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a history."""

    id: UUID
    role: Literal["user", "assistant", "member"]
    text: str
    outcome: Outcome | None = None
    confidence: float | None = None
    article_id: str | None = None
    rating: Rating | None = None

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return message_ids.created_at(self.id)


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A turn as it is read back; `rating` is what its user thought of the answer."""

    message_id: UUID
    question: str
    reply: str
    outcome: Outcome
    confidence: float
    article_id: str | None
    rating: Rating | None

    def messages(self) -> tuple[Message, Message]:
        """The answer and its question, newest first."""
        return (
            Message(
                self.message_id,
                "assistant",
                self.reply,
                self.outcome,
                self.confidence,
                self.article_id,
                self.rating,
            ),
            Message(message_ids.question_id(self.message_id), "user", self.question),
        )


@dataclass(frozen=True, slots=True)
class Session:
    """An entry of a user's list of sessions."""

    id: str
    title: str
    started: UUID

    @property
    def created_at(self) -> datetime:
        """When its first message was sent."""
        return message_ids.created_at(self.started)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a user thinks of an answer."""

    owner: Owner
    session_id: str
    message_id: UUID
    rating: Rating
    comment: str | None
    retention: timedelta
    written_at: int


@dataclass(frozen=True, slots=True, order=True)
class LastRating:
    """What is said of an answer, and since which version; of two the later counts, of two at once the one CQL keeps."""

    version: int
    rating: Rating


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some messages, newest first, and whether there are older ones."""

    messages: list[Message]
    has_older: bool
    degraded: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Some sessions, newest first, and whether there are older ones."""

    sessions: list[Session]
    has_older: bool
