"""The last turns of a session in redis-data, so that a conversation can be read while CQL is away."""

import asyncio
from datetime import timedelta

import structlog
from redis.asyncio import Redis

from chat_service.domain.turns import KeptTurn, Owner, Turn
from chat_service.store import records
from shared.errors import CapabilityUnavailable
from shared.metrics import LOST
from shared.redis import RedisStore

log = structlog.get_logger()

KEPT_TURNS = 25
TTL = timedelta(hours=24)
QUEUED = 5_000
ADD_EVERY = timedelta(milliseconds=700)


def _key(owner: Owner, session_id: str) -> str:
    return f"chat:recent:{{{owner.organization_id}}}:{owner.user_id}:{session_id}"


class RecentTurns:
    """Up to 25 turns per session for a day. It is a convenience: losing Redis loses it and nothing else.

    A turn that is in CQL is added within a second, many in one round trip; one that is not is added before its reply.
    """

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._waiting: list[Turn] = []

    def add_soon(self, turn: Turn) -> None:
        """Add a turn with the next batch."""
        if len(self._waiting) < QUEUED:
            self._waiting.append(turn)
        else:
            LOST.labels("recent_turns").inc()

    async def add_now(self, turn: Turn) -> None:
        """Add a turn, and those that wait before it."""
        self._waiting.append(turn)
        await self.add_waiting()

    async def turns(self, owner: Owner, session_id: str) -> list[KeptTurn]:
        """What is known of a session, newest first; nothing when Redis is away."""
        try:
            lines = await self._redis.run(lambda redis: _lines(redis, _key(owner, session_id)))
        except CapabilityUnavailable:
            return []
        turns = {turn.message_id: turn for line in lines if isinstance(turn := records.decode(line), Turn)}
        return [_kept(turns[key]) for key in sorted(turns, reverse=True)]

    async def forget(self, owner: Owner, session_id: str) -> None:
        """The session was deleted."""
        self._waiting = [t for t in self._waiting if (t.owner, t.session_id) != (owner, session_id)]
        try:
            await self._redis.run(lambda redis: redis.delete(_key(owner, session_id)))
        except CapabilityUnavailable:
            log.info("recent_turns_not_forgotten")
            LOST.labels("recent_turns_deletion").inc()

    async def add_waiting(self) -> None:
        """Add what waits, in one round trip."""
        turns, self._waiting = self._waiting, []
        if not turns:
            return
        try:
            await self._redis.run(lambda redis: _add(redis, turns))
        except CapabilityUnavailable:
            log.info("recent_turns_lost", turns=len(turns))
            LOST.labels("recent_turns").inc(len(turns))

    async def keep_adding(self) -> None:
        """Add what waits, for ever."""
        while True:
            await asyncio.sleep(ADD_EVERY.total_seconds())
            await self.add_waiting()


async def _lines(redis: Redis, key: str) -> list[bytes]:
    lines = await redis.lrange(key, 0, KEPT_TURNS - 1)
    return [line for line in lines if isinstance(line, bytes)]


async def _add(redis: Redis, turns: list[Turn]) -> None:
    by_key: dict[str, list[Turn]] = {}
    for turn in turns:
        by_key.setdefault(_key(turn.owner, turn.session_id), []).append(turn)
    async with redis.pipeline(transaction=False) as pipeline:
        for key, added in by_key.items():
            pipeline.lpush(key, *(records.encode(turn) for turn in added[-KEPT_TURNS:]))
            pipeline.ltrim(key, 0, KEPT_TURNS - 1)
            pipeline.expire(key, TTL)
        await pipeline.execute()


def _kept(turn: Turn) -> KeptTurn:
    return KeptTurn(
        turn.message_id, turn.question, turn.reply, turn.outcome, turn.confidence, turn.article_id, rating=None
    )
