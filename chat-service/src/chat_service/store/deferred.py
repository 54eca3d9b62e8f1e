"""Keeping turns while CQL is away: queued in redis-data, or on disk when that is away too, and written later."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import structlog
from redis.asyncio import Redis

from chat_service.domain import message_ids
from chat_service.domain.conversation import Rated, Turns
from chat_service.domain.turns import Feedback, HistoryPage, KeptTurn, LastRating, Owner, Persisted, SessionPage, Turn
from chat_service.store import records
from chat_service.store.journal import Journal
from shared.errors import CapabilityUnavailable, Overloaded
from shared.metrics import LOST
from shared.redis import RedisStore

log = structlog.get_logger()

STREAM = "chat:deferred"
UNREADABLE = "chat:deferred:unreadable"
AT_ONCE = 100
DRAIN_EVERY = timedelta(milliseconds=500)


class Queue(Protocol):
    """Where records wait until they can be written."""

    async def put(self, record: Turn | Feedback) -> None:
        """Keep a record. Raises CapabilityUnavailable."""
        ...

    async def drain(self, write: Callable[[Turn | Feedback], Awaitable[None]]) -> int:
        """Write the oldest records and forget them; how many. Raises CapabilityUnavailable and what `write` raises."""
        ...


class StoredTurns(Turns, Protocol):
    """Where turns are in the end, and what waited in a queue is written."""

    async def append_late(self, turn: Turn) -> None:
        """Keep a turn that waited, unless its session was deleted meanwhile."""
        ...

    async def rate_late(self, feedback: Feedback) -> Rated | None:
        """Keep a rating that waited, unless a later one is there."""
        ...


class Recent(Protocol):
    """The last turns of sessions; a convenience that never raises."""

    def add_soon(self, turn: Turn) -> None:
        """Add a turn some time soon."""
        ...

    async def add_now(self, turn: Turn) -> None:
        """Add a turn before its reply goes out."""
        ...

    async def turns(self, owner: Owner, session_id: str) -> list[KeptTurn]:
        """What is known of a session, newest first."""
        ...

    async def forget(self, owner: Owner, session_id: str) -> None:
        """The session was deleted."""
        ...


class Deletions(Protocol):
    """Where replicas hear of deleted sessions."""

    async def deleted(self, owner: Owner, session_id: str) -> None:
        """Tell the others; never raises."""
        ...


class RedisQueue:
    """A stream that every replica adds to and drains; what two of them write at the same time is the same row."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def put(self, record: Turn | Feedback) -> None:
        """Keep a record in the stream."""
        line = records.encode(record)
        await self._redis.run(lambda redis: redis.xadd(STREAM, {"record": line}))

    async def drain(self, write: Callable[[Turn | Feedback], Awaitable[None]]) -> int:
        """Write up to 100 records, oldest first within a session."""
        entries: list[tuple[bytes, dict[bytes, bytes]]] = await self._redis.run(_read)
        for entry_id, fields in entries:
            try:
                record = records.decode(fields[b"record"])
            except (ValueError, KeyError):
                await self._set_aside(entry_id, fields)
                continue
            await write(record)
            await self._redis.run(_remover(entry_id))
        return len(entries)

    async def _set_aside(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        """A record that nobody can read must not hold up the others; it is kept for a person to look at."""
        log.error("deferred_record_unreadable", entry_id=entry_id.decode())
        LOST.labels("deferred_record").inc()
        kept: dict[Any, Any] = dict(fields)
        await self._redis.run(lambda redis: redis.xadd(UNREADABLE, kept, maxlen=10_000, approximate=True))
        await self._redis.run(_remover(entry_id))


async def _read(redis: Redis) -> Any:  # noqa: ANN401 - the driver cannot say that this connection gives bytes
    return await redis.xrange(STREAM, count=AT_ONCE)


def _remover(entry_id: bytes) -> Callable[[Redis], Awaitable[int]]:
    async def remove(redis: Redis) -> int:
        return int(await redis.xdel(STREAM, entry_id))

    return remove


class DiskQueue:
    """The last resort: a journal on this process's disk."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def put(self, record: Turn | Feedback) -> None:
        """Keep a record in the journal."""
        self._journal.append(records.encode(record))

    async def drain(self, write: Callable[[Turn | Feedback], Awaitable[None]]) -> int:
        """Write up to 100 records, oldest first."""
        batch = self._journal.next_batch(AT_ONCE)
        if batch is None:
            return 0
        for line in batch.lines:
            try:
                record = records.decode(line)
            except (ValueError, KeyError):
                log.warning("deferred_line_torn", length=len(line))
                LOST.labels("deferred_record").inc()
                continue
            await write(record)
        self._journal.done()
        return len(batch.lines)


class DeferringConversations:
    """Conversations that go on while CQL is away: writes wait in a queue, and recent turns can still be read.

    `on_rated` hears of ratings that waited, once they are in place.
    """

    def __init__(
        self,
        behind: StoredTurns,
        queues: tuple[Queue, ...],
        recent: Recent,
        announcements: Deletions,
        on_rated: Callable[[str, UUID, LastRating], None],
    ) -> None:
        self._behind = behind
        self._queues = queues
        self._recent = recent
        self._announcements = announcements
        self._on_rated = on_rated

    async def append(self, turn: Turn) -> Persisted:
        """Keep a turn, at its place or in a queue."""
        try:
            persisted = await self._behind.append(turn)
        except (CapabilityUnavailable, Overloaded):
            await self._defer(turn)
            await self._recent.add_now(turn)
            return "deferred"
        self._recent.add_soon(turn)
        return persisted

    async def history(self, owner: Owner, session_id: str, limit: int, before: UUID | None) -> HistoryPage | None:
        """Messages of a session; while CQL is away the recent ones, if they are known. Raises CapabilityUnavailable."""
        try:
            return await self._behind.history(owner, session_id, limit, before)
        except CapabilityUnavailable:
            kept = await self._recent.turns(owner, session_id)
            if not kept:
                raise
            return _page_of(kept, limit, before)

    async def sessions(self, owner: Owner, limit: int, before: UUID | None) -> SessionPage:
        """The user's sessions. Raises CapabilityUnavailable."""
        return await self._behind.sessions(owner, limit, before)

    async def delete_session(self, owner: Owner, session_id: str) -> bool:
        """Remove a session. Raises CapabilityUnavailable."""
        deleted = await self._behind.delete_session(owner, session_id)
        if deleted:
            await self._announcements.deleted(owner, session_id)
            await self._recent.forget(owner, session_id)
        return deleted

    async def rate(self, feedback: Feedback) -> Rated | None:
        """Keep a rating, at its place or in a queue; whether the answer exists is only known at its place."""
        try:
            return await self._behind.rate(feedback)
        except CapabilityUnavailable:
            await self._defer(feedback)
            return Rated("deferred")

    async def drain(self) -> int:
        """Write what waits; how many records. Raises CapabilityUnavailable."""
        return sum([await queue.drain(self._write) for queue in self._queues])

    async def keep_draining(self, is_away: Callable[[], bool]) -> None:
        """Write what waits as soon as CQL is there, for ever."""
        while True:
            await asyncio.sleep(DRAIN_EVERY.total_seconds())
            if is_away():
                continue
            for queue in self._queues:
                try:
                    while written := await queue.drain(self._write):
                        log.info("deferred_written", records=written)
                except (CapabilityUnavailable, Overloaded) as error:
                    log.info("deferred_wait", code=error.code)

    async def _defer(self, record: Turn | Feedback) -> None:
        for queue in self._queues[:-1]:
            try:
                await queue.put(record)
            except CapabilityUnavailable:
                continue
            return
        await self._queues[-1].put(record)

    async def _write(self, record: Turn | Feedback) -> None:
        if isinstance(record, Turn):
            await self._behind.append_late(record)
            return
        rated = await self._behind.rate_late(record)
        if rated is not None and rated.last is not None:
            self._on_rated(record.owner.organization_id, record.message_id, rated.last)


def _page_of(kept: list[KeptTurn], limit: int, before: UUID | None) -> HistoryPage:
    messages = [
        message
        for turn in kept
        for message in turn.messages()
        if before is None or message_ids.position(message.id) < message_ids.position(before)
    ]
    return HistoryPage(messages[:limit], has_older=len(messages) > limit, degraded=("conversations",))
