"""Answers that every replica shares, in redis-cache."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog

from chat_service.domain.answers import CacheKey
from chat_service.domain.turns import Answer, Citation, Suggestion
from shared.errors import CapabilityUnavailable
from shared.metrics import LOST
from shared.redis import RedisStore

log = structlog.get_logger()


def _name(key: CacheKey) -> str:
    rest = orjson.dumps([key.scorer, key.language, key.tags, key.question])
    return f"chat:answer:{{{key.organization_id}}}:{key.epoch}:{hashlib.sha256(rest).hexdigest()}"


class RedisAnswers:
    """One string per answer. Losing Redis costs speed only."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def get(self, key: CacheKey) -> Answer | None:
        """The answer, if it is there and Redis too."""
        try:
            raw = await self._redis.run(lambda redis: redis.get(_name(key)))
        except CapabilityUnavailable:
            return None
        return None if raw is None else _answer(orjson.loads(raw))

    async def put(self, key: CacheKey, answer: Answer, ttl: timedelta) -> None:
        """Keep an answer for a while."""
        raw = orjson.dumps(answer.public)
        try:
            await self._redis.run(lambda redis: redis.set(_name(key), raw, px=ttl))
        except CapabilityUnavailable:
            log.info("answer_not_shared")
            LOST.labels("shared_answer").inc()


def _answer(stored: dict[str, Any]) -> Answer:
    return Answer(
        outcome=stored["outcome"],
        citation=Citation(**stored["answer"]) if stored["answer"] else None,
        confidence=stored["confidence"],
        suggestions=tuple(Suggestion(**each) for each in stored["suggestions"]),
        follow_ups=tuple(stored["follow_ups"]),
        epoch=stored["epoch"],
        scorer=stored["scorer"],
        as_of=datetime.fromisoformat(stored["as_of"]),
    )
