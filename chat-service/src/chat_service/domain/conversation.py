"""What happens when somebody sends a message, reads a history, rates an answer or deletes a session."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from chat_service.domain import message_ids
from chat_service.domain.analytics import Analytics
from chat_service.domain.answers import Found, Question
from chat_service.domain.leases import Usage
from chat_service.domain.quota import Quota
from chat_service.domain.turns import (
    RETENTION,
    Answer,
    CacheLevel,
    Feedback,
    HistoryPage,
    LastRating,
    Owner,
    Persisted,
    Rating,
    SessionPage,
    Turn,
)
from shared.errors import NotFound
from shared.principal import Principal


@dataclass(frozen=True, slots=True)
class Sending:
    """A message as it came in; `message_id` is the answer's id, chosen before the work begins."""

    message_id: UUID
    text: str
    session_id: str | None
    language: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a message, and what became of it."""

    session_id: str
    message_id: UUID
    answer: Answer
    cache: CacheLevel
    persisted: Persisted
    degraded: tuple[str, ...]
    usage: Usage
    created_at: datetime


class Turns(Protocol):
    """Where turns are kept."""

    async def append(self, turn: Turn) -> Persisted:
        """Keep a turn before its reply goes out: at its place, or safely on its way there."""
        ...

    async def history(self, owner: Owner, session_id: str, limit: int, before: UUID | None) -> HistoryPage | None:
        """Messages of a session, the latest or those before an id; None when there is no such session."""
        ...

    async def sessions(self, owner: Owner, limit: int, before: UUID | None) -> SessionPage:
        """The user's sessions, the latest or those that started before an id."""
        ...

    async def delete_session(self, owner: Owner, session_id: str) -> bool:
        """Remove a session and all its turns; False when there is none."""
        ...

    async def rate(self, feedback: Feedback) -> "Rated | None":
        """Keep what a user thinks of an answer; None when there is no such answer."""
        ...


@dataclass(frozen=True, slots=True)
class Rated:
    """Feedback was kept; `last` is what is said of the answer now, which is not known of a deferred one."""

    persisted: Persisted
    last: LastRating | None = None


class Answers(Protocol):
    """Where answers come from."""

    async def find(self, question: Question) -> Found:
        """The answer to a question."""
        ...


class Conversation:
    """What happens when a user sends a message, and what can be done with it afterwards."""

    def __init__(
        self,
        turns: Turns,
        answers: Answers,
        quota: Quota,
        analytics: Analytics,
        degraded: Callable[[], tuple[str, ...]] = tuple,
        *,
        stamp: Callable[[], int],
    ) -> None:
        self._turns = turns
        self._answers = answers
        self._quota = quota
        self._analytics = analytics
        self._degraded = degraded
        self._stamp = stamp

    async def send_message(self, principal: Principal, sending: Sending) -> Reply:
        """Answer a question and remember the turn; only an answered one is charged.

        Raises QuotaExceeded, CapabilityUnavailable("accounts" with no unit held, "knowledge" with nothing cached).
        """
        began = time.perf_counter()
        organization_id = principal.organization_id
        unit = await self._quota.take(organization_id)
        is_charged = False
        try:
            found = await self._answers.find(Question(organization_id, sending.text, sending.language, sending.tags))
            turn = _turn(principal, sending, found.answer, self._stamp())
            persisted = await self._turns.append(turn)
            is_charged = found.answer.outcome == "answered"
        finally:
            usage = unit.burn(str(sending.message_id)) if is_charged else unit.release()
        took = (time.perf_counter() - began) * 1000
        self._analytics.count_message(organization_id, sending.text, found.answer.outcome, found.cache, took)
        return Reply(
            session_id=turn.session_id,
            message_id=turn.message_id,
            answer=found.answer,
            cache=found.cache,
            persisted=persisted,
            degraded=self._all_degraded(found, persisted),
            usage=usage,
            created_at=message_ids.created_at(turn.message_id),
        )

    async def read_history(self, principal: Principal, session_id: str, limit: int, before: UUID | None) -> HistoryPage:
        """A page of a session, newest first. Raises NotFound for an absent or foreign session."""
        page = await self._turns.history(_owner(principal), session_id, limit, before)
        if page is None:
            raise NotFound
        return page

    async def list_sessions(self, principal: Principal, limit: int, before: UUID | None) -> SessionPage:
        """A page of the user's sessions, newest first."""
        return await self._turns.sessions(_owner(principal), limit, before)

    async def delete_session(self, principal: Principal, session_id: str) -> None:
        """Remove a session for good. Raises NotFound."""
        if not await self._turns.delete_session(_owner(principal), session_id):
            raise NotFound

    async def rate(
        self, principal: Principal, session_id: str, message_id: UUID, rating: Rating, comment: str | None
    ) -> Rated:
        """Keep what the user thinks of an answer. Raises NotFound."""
        owner = _owner(principal)
        feedback = Feedback(
            owner, session_id, message_id, rating, comment, _retention(principal.plan), written_at=self._stamp()
        )
        rated = await self._turns.rate(feedback)
        if rated is None:
            raise NotFound
        if rated.last is not None:
            self._analytics.count_rating(owner.organization_id, message_id, rated.last)
        return rated

    def _all_degraded(self, found: Found, persisted: Persisted) -> tuple[str, ...]:
        degraded = self._degraded() + found.degraded
        if persisted == "deferred":
            degraded += ("conversations",)
        return tuple(dict.fromkeys(degraded)) if degraded else ()


def _owner(principal: Principal) -> Owner:
    return Owner(principal.organization_id, principal.user_id)


def _retention(plan: str) -> timedelta:
    return RETENTION.get(plan, RETENTION["free"])


def _turn(principal: Principal, sending: Sending, answer: Answer, written_at: int) -> Turn:
    citation = answer.citation
    return Turn(
        owner=_owner(principal),
        session_id=sending.session_id or str(message_ids.question_id(sending.message_id)),
        message_id=sending.message_id,
        question=sending.text,
        reply=answer.reply,
        outcome=answer.outcome,
        confidence=answer.confidence,
        article_id=citation.article_id if citation else None,
        article_version=citation.version if citation else None,
        epoch=answer.epoch,
        scorer=answer.scorer,
        retention=_retention(principal.plan),
        written_at=written_at,
        opens_session=sending.session_id is None,
    )
