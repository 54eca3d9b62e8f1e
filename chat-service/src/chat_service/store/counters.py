"""Live counters of organizations in redis-data: one hash of counters and one bounded sorted set each."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from redis.asyncio import Redis

from chat_service.domain.analytics import Counts
from chat_service.domain.message_ids import BUCKET_DAYS, bucket_of
from chat_service.domain.turns import RETENTION
from shared.redis import RedisStore

RATE = """
local kept = redis.call('HGET', KEYS[2], ARGV[1])
if kept then
  local version, rating = string.match(kept, '^(%d+) (%a+)$')
  version = tonumber(version)
  if version > tonumber(ARGV[2]) or (version == tonumber(ARGV[2]) and rating >= ARGV[3]) then
    return 0
  end
  redis.call('HINCRBY', KEYS[1], 'feedback:' .. rating, -1)
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('HINCRBY', KEYS[1], 'feedback:' .. ARGV[3], 1)
return 1
"""
"""Counts a rating in the place of the one counted before for its message. What is counted is kept beside the counters,
since another process may not yet have counted what CQL already has."""
POPULAR_KEPT = 1_000
"""Questions in the sorted set; the rarest fall out."""
POPULAR_READ = 100
KEPT_SECONDS = int((max(RETENTION.values()) + timedelta(days=BUCKET_DAYS)).total_seconds())


def _numbers(organization_id: str) -> str:
    return f"chat:figures:{{{organization_id}}}"


def _popular(organization_id: str) -> str:
    return f"chat:popular:{{{organization_id}}}"


def _rated(organization_id: str, message_id: UUID) -> str:
    """The ratings counted of the messages of 10 days, which expire when no such message is left to be rated."""
    return f"chat:rated:{{{organization_id}}}:{bucket_of(message_id)}"


class RedisCounters:
    """Counters added up over all replicas."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def add(self, counts: Mapping[str, Counts]) -> None:
        """Add the counters of some organizations in one round trip."""
        await self._redis.run(lambda redis: _add(redis, counts))

    async def read(self, organization_id: str) -> Counts:
        """The counters of one organization."""
        return await self._redis.run(lambda redis: _read(redis, organization_id))


async def _add(redis: Redis, counts: Mapping[str, Counts]) -> None:
    async with redis.pipeline(transaction=True) as pipeline:
        for organization_id, added in counts.items():
            for name, count in added.numbers.items():
                pipeline.hincrby(_numbers(organization_id), name, count)
            for question, count in added.popular.items():
                pipeline.zincrby(_popular(organization_id), count, question)
            for message_id, last in added.ratings.items():
                keys = (_numbers(organization_id), _rated(organization_id, message_id))
                pipeline.eval(RATE, 2, *keys, message_id.bytes, last.version, last.rating, KEPT_SECONDS)
            if added.popular:
                pipeline.zremrangebyrank(_popular(organization_id), 0, -POPULAR_KEPT - 1)
        await pipeline.execute()


async def _read(redis: Redis, organization_id: str) -> Counts:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(_numbers(organization_id))
        pipeline.zrevrange(_popular(organization_id), 0, POPULAR_READ - 1, withscores=True)
        numbers, popular = await pipeline.execute()
    return Counts(
        Counter({name.decode(): int(count) for name, count in numbers.items()}),
        Counter({question.decode(): int(count) for question, count in popular}),
    )
