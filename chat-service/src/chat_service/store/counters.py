"""Live counters of organizations in redis-data: one hash of counters and one bounded sorted set each."""

from collections import Counter
from collections.abc import Mapping

from redis.asyncio import Redis

from chat_service.domain.analytics import Counts
from shared.redis import RedisStore

POPULAR_KEPT = 1_000
"""Questions in the sorted set; the rarest fall out."""
POPULAR_READ = 100


def _numbers(organization_id: str) -> str:
    return f"chat:figures:{{{organization_id}}}"


def _popular(organization_id: str) -> str:
    return f"chat:popular:{{{organization_id}}}"


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
