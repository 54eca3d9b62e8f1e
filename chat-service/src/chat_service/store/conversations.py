"""Conversations in CQL: one row per turn, one partition per session and 10 days, newest first."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from chat_service.domain import message_ids
from chat_service.domain.conversation import Rated
from chat_service.domain.exports import shard_of
from chat_service.domain.turns import (
    RETENTION,
    Feedback,
    HistoryPage,
    KeptTurn,
    LastRating,
    Message,
    Owner,
    Persisted,
    Session,
    SessionPage,
    Turn,
)
from shared.clock import HybridClock
from shared.cql import UNSET, Cql, Row

INSERT_TURN = """
INSERT INTO turns (organization_id, user_id, session_id, bucket, id, question, reply, outcome, confidence, article_id,
    article_version, epoch, scorer) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?"""
LATEST_TURNS = """
SELECT id, question, reply, outcome, confidence, article_id, rating FROM turns
WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ? LIMIT ?"""
TURNS_UP_TO = """
SELECT id, question, reply, outcome, confidence, article_id, rating FROM turns
WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ? AND id <= ? LIMIT ?"""
TURNS_OF_DAY = """
SELECT id, question, reply, outcome, confidence, article_id, rating FROM turns
WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ? AND id >= ? AND id < ? LIMIT ?"""
RATING = """
SELECT reply, rating, TTL(reply) AS seconds_left, WRITETIME(rating) AS rated_at FROM turns
WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ? AND id = ?"""
RATE = """
UPDATE turns USING TTL ? AND TIMESTAMP ? SET rating = ?, comment = ?
WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ? AND id = ?"""
NEWEST_WRITES = """
SELECT MAX(WRITETIME(reply)) AS replied_at, MAX(WRITETIME(rating)) AS rated_at FROM turns
WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ?"""
DELETE_TURNS = """
DELETE FROM turns USING TIMESTAMP ? WHERE organization_id = ? AND user_id = ? AND session_id = ? AND bucket = ?"""

SESSION = """
SELECT started, title, TTL(title) AS seconds_left, WRITETIME(title) AS written_at, deleted FROM sessions
WHERE organization_id = ? AND user_id = ? AND session_id = ?"""
INSERT_SESSION = """
INSERT INTO sessions (organization_id, user_id, session_id, started, title) VALUES (?, ?, ?, ?, ?)
USING TTL ? AND TIMESTAMP ?"""
MARK_DELETED = """
UPDATE sessions USING TTL ? AND TIMESTAMP ? SET deleted = ?
WHERE organization_id = ? AND user_id = ? AND session_id = ?"""
DELETE_SESSION = """
DELETE FROM sessions USING TIMESTAMP ? WHERE organization_id = ? AND user_id = ? AND session_id = ?"""

INSERT_LISTED = """
INSERT INTO sessions_by_month (organization_id, user_id, month, started, session_id, title) VALUES (?, ?, ?, ?, ?, ?)
USING TTL ? AND TIMESTAMP ?"""
LATEST_LISTED = """
SELECT started, session_id, title FROM sessions_by_month
WHERE organization_id = ? AND user_id = ? AND month = ? LIMIT ?"""
LISTED_BEFORE = """
SELECT started, session_id, title FROM sessions_by_month
WHERE organization_id = ? AND user_id = ? AND month = ? AND started < ? LIMIT ?"""
DELETE_LISTED = """
DELETE FROM sessions_by_month USING TIMESTAMP ?
WHERE organization_id = ? AND user_id = ? AND month = ? AND started = ? AND session_id = ?"""

INSERT_ACTIVE = """
INSERT INTO active_sessions (organization_id, day, shard, user_id, session_id) VALUES (?, ?, ?, ?, ?)
USING TTL ? AND TIMESTAMP ?"""
INSERT_ACTIVE_DAY = "INSERT INTO active_days (organization_id, day) VALUES (?, ?) USING TTL ? AND TIMESTAMP ?"
ACTIVE_DAYS = "SELECT day FROM active_days WHERE organization_id = ? AND day >= ? AND day <= ?"
ACTIVE_SESSIONS = """
SELECT user_id, session_id FROM active_sessions WHERE organization_id = ? AND day = ? AND shard = ? LIMIT ?"""
ACTIVE_SESSIONS_AFTER = """
SELECT user_id, session_id FROM active_sessions
WHERE organization_id = ? AND day = ? AND shard = ? AND (user_id, session_id) > (?, ?) LIMIT ?"""

KNOWN_SESSIONS = 50_000
BELIEVED = timedelta(seconds=10)
"""How long this process takes it for granted that a session it has seen was not deleted through another replica."""
LATE = timedelta(days=1)
"""A session entry is written again when it would expire this much sooner than the turns of today."""
MARKED = timedelta(days=30)
"""How long a deletion is remembered: a turn that waited in a queue for longer may come back."""


@dataclass(slots=True)
class _Known:
    """What this process knows of a session: until when it may be believed, and the last day it was marked active."""

    until: float
    day: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of a session: its entries in the list (two when they were made at once), and its deletion."""

    heads: Sequence[Row]
    deleted: int | None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Kept":
        """From the rows of its partition: one that has nothing but the deletion has no `started`."""
        return cls([row for row in rows if row.started is not None], rows[0].deleted if rows else None)


def month_of(key: UUID) -> int:
    """The month of a message id as a number that sorts: 12 * year + month - 1."""
    moment = message_ids.created_at(key)
    return moment.year * 12 + moment.month - 1


class CqlConversations:
    """Turns, sessions and feedback. A turn of a session seen lately is one statement; a new one two round trips.

    Each write is stamped behind the writes to the same row that were read before it, by `clock` (docs/adr/0011).
    """

    def __init__(self, cql: Cql, clock: HybridClock) -> None:
        self._cql = cql
        self._clock = clock
        self._known: OrderedDict[tuple[Owner, str], _Known] = OrderedDict()
        self._opening: dict[tuple[Owner, str], asyncio.Lock] = {}

    async def append(self, turn: Turn) -> Persisted:
        """Keep a turn; doing it again changes nothing. Raises CapabilityUnavailable, Overloaded."""
        key = (turn.owner, turn.session_id)
        if self._is_known(key, turn.day):
            await self._cql.execute(INSERT_TURN, _turn_values(turn))
            return "durable"
        lock = self._opening.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if self._is_known(key, turn.day):
                    await self._cql.execute(INSERT_TURN, _turn_values(turn))
                else:
                    await self._open(turn, self._known.get(key))
                    self._know(key, turn.day)
        finally:
            if not lock.locked():
                self._opening.pop(key, None)
        return "durable"

    async def append_late(self, turn: Turn) -> None:
        """Keep a turn that waited in a queue, unless its session was deleted meanwhile."""
        kept = await self._session(turn.owner, turn.session_id)
        if kept.deleted is not None and turn.written_at <= kept.deleted:
            return
        if await self._append_and_open(turn, kept, self._known.get((turn.owner, turn.session_id))):
            await self._take_back_if_deleted(turn)

    async def history(self, owner: Owner, session_id: str, limit: int, before: UUID | None) -> HistoryPage | None:
        """Messages of a session, newest first; None when there is none. Raises CapabilityUnavailable, Overloaded."""
        heads = (await self._session(owner, session_id)).heads
        newest = message_ids.bucket_of(before) if before else message_ids.newest_bucket()
        first = [message_ids.bucket_of(message_ids.from_timeuuid(head.started)) for head in heads]
        messages: list[Message] = []
        for bucket in range(newest, min(first, default=newest - 1) - 1, -1):
            wanted = limit + 1 - len(messages)
            messages += await self._messages(owner, session_id, bucket, wanted, before)
            if len(messages) > limit:
                break
        if not messages and not heads:
            return None
        return HistoryPage(messages[:limit], has_older=len(messages) > limit)

    async def sessions(self, owner: Owner, limit: int, before: UUID | None) -> SessionPage:
        """The sessions of a user, newest first, as far back as anything is kept."""
        newest = month_of(before or message_ids.newest())
        oldest = month_of(message_ids.new_message_id()) - max(RETENTION.values()).days // 28
        found: dict[str, Session] = {}
        for month in range(newest, oldest - 1, -1):
            rows = await self._listed(owner, month, limit + 1 - len(found), before)
            for row in rows:
                session = Session(row.session_id, row.title, message_ids.from_timeuuid(row.started))
                found.setdefault(session.id, session)
            if len(found) > limit:
                break
        sessions = list(found.values())
        return SessionPage(sessions[:limit], has_older=len(sessions) > limit)

    async def delete_session(self, owner: Owner, session_id: str) -> bool:
        """Remove a session with all that is in it; False when there is none.

        Its entry goes last, so that a deletion which fails half way finds everything again.
        """
        place = (owner.organization_id, owner.user_id, session_id)
        kept = await self._session(owner, session_id)
        newest = message_ids.newest_bucket()
        started = [message_ids.from_timeuuid(head.started) for head in kept.heads]
        first = min((message_ids.bucket_of(key) for key in started), default=newest - 1)
        buckets = range(first, newest + 1)
        writes = await asyncio.gather(*(self._newest_writes(place, bucket) for bucket in buckets))
        if not kept.heads and all(write.replied_at is None for write in writes):
            return False
        versions = [version for write in writes for version in (write.replied_at, write.rated_at)]
        at = self._clock.after(kept.deleted, *versions, *(head.written_at for head in kept.heads))
        marked = int(MARKED.total_seconds())
        await self._cql.execute(MARK_DELETED, (marked, at + 1, at + 1, *place))
        self.forget(owner, session_id)
        await asyncio.gather(
            *(self._cql.execute(DELETE_TURNS, (at, *place, bucket)) for bucket in buckets),
            *(
                self._cql.execute(
                    DELETE_LISTED, (at, *place[:2], month_of(key), message_ids.to_timeuuid(key), session_id)
                )
                for key in started
            ),
        )
        await self._cql.execute(DELETE_SESSION, (at, *place))
        return True

    async def rate(self, feedback: Feedback) -> Rated | None:
        """Keep a rating beside its answer; None when there is no such answer."""
        return await self._rate(feedback, is_late=False)

    async def rate_late(self, feedback: Feedback) -> Rated | None:
        """Keep a rating that waited in a queue, unless a later one is there; what is said of the answer now."""
        return await self._rate(feedback, is_late=True)

    async def active_days(self, organization_id: str, first: int, last: int) -> list[int]:
        """The days between two, both included, on which an organization had turns, newest first."""
        rows = await self._cql.execute(ACTIVE_DAYS, (organization_id, first, last))
        return [row.day for row in rows]

    async def active_sessions(
        self, organization_id: str, day: int, shard: int, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        """User and id of the sessions with turns on a day, those after a place in the list."""
        where = (organization_id, day, shard)
        if after is None:
            rows = await self._cql.execute(ACTIVE_SESSIONS, (*where, limit))
        else:
            rows = await self._cql.execute(ACTIVE_SESSIONS_AFTER, (*where, *after, limit))
        return [(row.user_id, row.session_id) for row in rows]

    async def turns_of_day(
        self, owner: Owner, session_id: str, day: int, before: UUID | None, limit: int
    ) -> list[KeptTurn]:
        """The turns of a session on one day, newest first, those before a message id."""
        until = message_ids.to_timeuuid(before) if before else message_ids.first_of_day(day + 1)
        place = (owner.organization_id, owner.user_id, session_id, message_ids.bucket_of_day(day))
        rows = await self._cql.execute(TURNS_OF_DAY, (*place, message_ids.first_of_day(day), until, limit))
        return _kept(rows)

    def forget(self, owner: Owner, session_id: str) -> None:
        """Another replica deleted the session."""
        self._known.pop((owner, session_id), None)

    async def _session(self, owner: Owner, session_id: str) -> _Kept:
        return _Kept.of(await self._cql.execute(SESSION, (owner.organization_id, owner.user_id, session_id)))

    async def _newest_writes(self, place: tuple[str, str, str], bucket: int) -> Row:
        """The newest timestamps of turns and of ratings in a bucket of a session; an aggregate is always one row."""
        return (await self._cql.execute(NEWEST_WRITES, (*place, bucket)))[0]

    async def _rate(self, feedback: Feedback, *, is_late: bool) -> Rated | None:
        place = _place(feedback.owner, feedback.session_id, feedback.message_id)
        rows = await self._cql.execute(RATING, place)
        if not rows or rows[0].reply is None or feedback.message_id != message_ids.answer_id(feedback.message_id):
            return None
        rated_at = rows[0].rated_at
        if is_late and rated_at is not None and feedback.written_at <= rated_at:
            return Rated("durable", LastRating(rated_at, rows[0].rating))
        at = feedback.written_at if is_late else self._clock.after(rated_at)
        ttl = rows[0].seconds_left or int(feedback.retention.total_seconds())
        comment = UNSET if feedback.comment is None else feedback.comment
        await self._cql.execute(RATE, (ttl, at, feedback.rating, comment, *place))
        return Rated("durable", LastRating(at, feedback.rating))

    async def _open(self, turn: Turn, known: _Known | None) -> None:
        """The first turn of a session that this process sees for a while."""
        kept = _Kept((), None)
        if not turn.opens_session:
            kept = await self._session(turn.owner, turn.session_id)
        if kept.deleted is not None and turn.written_at <= kept.deleted:
            turn = replace(turn, written_at=self._clock.after(kept.deleted))
        await self._append_and_open(turn, kept, known)

    async def _append_and_open(self, turn: Turn, kept: _Kept, known: _Known | None) -> bool:
        """One batch over the few partitions that a turn may be the first of; each write in it may be repeated.

        Whether the session was entered into the list of sessions, for the first time or anew.
        """
        whose = (turn.owner.organization_id, turn.owner.user_id)
        ttl, at, heads = int(turn.retention.total_seconds()), turn.written_at, kept.heads
        writes = [(INSERT_TURN, _turn_values(turn))]
        is_fresh = bool(heads) and (heads[0].seconds_left or 0) > ttl - LATE.total_seconds()
        if not is_fresh:
            started = heads[0].started if heads else message_ids.to_timeuuid(turn.message_id)
            title = heads[0].title if heads else turn.title
            month = month_of(message_ids.from_timeuuid(started))
            writes.append((INSERT_SESSION, (*whose, turn.session_id, started, title, ttl, at)))
            writes.append((INSERT_LISTED, (*whose, month, started, turn.session_id, title, ttl, at)))
        if known is None or known.day != turn.day:
            shard = shard_of(turn.owner, turn.session_id)
            active = (turn.owner.organization_id, turn.day, shard, turn.owner.user_id, turn.session_id)
            writes.append((INSERT_ACTIVE, (*active, ttl, at)))
            writes.append((INSERT_ACTIVE_DAY, (turn.owner.organization_id, turn.day, ttl, at)))
        await self._cql.execute_batch(writes)
        return not is_fresh

    async def _take_back_if_deleted(self, turn: Turn) -> None:
        """A turn is covered by a deletion that came between, but its entry in the list of sessions is a new row."""
        whose = (turn.owner.organization_id, turn.owner.user_id)
        if (await self._session(turn.owner, turn.session_id)).heads:
            return
        self.forget(turn.owner, turn.session_id)
        started = message_ids.to_timeuuid(turn.message_id)
        place = (*whose, month_of(turn.message_id), started, turn.session_id)
        await self._cql.execute(DELETE_LISTED, (turn.written_at, *place))

    async def _messages(
        self, owner: Owner, session_id: str, bucket: int, wanted: int, before: UUID | None
    ) -> list[Message]:
        """Up to `wanted` messages of a bucket, newest first, that come before an id."""
        place = (owner.organization_id, owner.user_id, session_id, bucket)
        turns = wanted // 2 + 2  # the turn of `before` comes again, and may have nothing to give
        messages: list[Message] = []
        while True:
            if before is None or message_ids.bucket_of(before) != bucket:
                rows = await self._cql.execute(LATEST_TURNS, (*place, turns))
            else:
                up_to = message_ids.to_timeuuid(message_ids.answer_id(before))
                rows = await self._cql.execute(TURNS_UP_TO, (*place, up_to, turns))
            messages += [
                message
                for turn in _kept(rows)
                for message in turn.messages()
                if before is None or message_ids.position(message.id) < message_ids.position(before)
            ]
            if len(messages) >= wanted or len(rows) < turns:
                return messages[:wanted]
            before = message_ids.question_id(message_ids.from_timeuuid(rows[-1].id))

    async def _listed(self, owner: Owner, month: int, limit: int, before: UUID | None) -> list[Row]:
        where = (owner.organization_id, owner.user_id, month)
        if before is None or month_of(before) != month:
            return await self._cql.execute(LATEST_LISTED, (*where, limit))
        return await self._cql.execute(LISTED_BEFORE, (*where, message_ids.to_timeuuid(before), limit))

    def _is_known(self, key: tuple[Owner, str], day: int) -> bool:
        known = self._known.get(key)
        return known is not None and known.day == day and known.until > time.monotonic()

    def _know(self, key: tuple[Owner, str], day: int) -> None:
        self._known[key] = _Known(time.monotonic() + BELIEVED.total_seconds(), day)
        self._known.move_to_end(key)
        while len(self._known) > KNOWN_SESSIONS:
            self._known.popitem(last=False)


def _place(owner: Owner, session_id: str, message_id: UUID) -> tuple[str, str, str, int, UUID]:
    bucket = message_ids.bucket_of(message_id)
    return (owner.organization_id, owner.user_id, session_id, bucket, message_ids.to_timeuuid(message_id))


def _turn_values(turn: Turn) -> tuple[object, ...]:
    return (
        *_place(turn.owner, turn.session_id, turn.message_id),
        turn.question,
        turn.reply,
        turn.outcome,
        turn.confidence,
        UNSET if turn.article_id is None else turn.article_id,
        UNSET if turn.article_version is None else turn.article_version,
        turn.epoch,
        turn.scorer,
        int(turn.retention.total_seconds()),
        turn.written_at,
    )


def _kept(rows: Sequence[Row]) -> list[KeptTurn]:
    """Rows as turns; a row without a reply is feedback to a turn that is gone."""
    return [
        KeptTurn(
            message_ids.from_timeuuid(row.id),
            row.question,
            row.reply,
            row.outcome,
            row.confidence,
            row.article_id,
            row.rating,
        )
        for row in rows
        if row.reply is not None
    ]
