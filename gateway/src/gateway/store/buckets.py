"""The rate-limit buckets that all gateways share, in redis-data."""

from collections.abc import Sequence

from redis.asyncio.client import Pipeline

from gateway.domain.rate_limits import Lease, Settlement
from shared.redis import RedisStore

KEY = "rate:{{{key}}}"
SETTLE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(state[1] or burst)
local at = tonumber(state[2] or now)
tokens = math.min(burst, tokens + math.max(0, now - at) * rate + tonumber(ARGV[4])) - tonumber(ARGV[3])
local granted = math.max(0, math.min(tonumber(ARGV[5]), math.floor(tokens)))
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil((burst - tokens) / rate) + 1)
return {granted, string.format('%.6f', tokens)}
"""
"""KEYS: a bucket. ARGV: rate, burst, spent, returned, wanted. The server's clock is the one clock of all gateways."""


class RedisBuckets:
    """Settles any number of keys in one pipeline."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """The leases, in order; raises CapabilityUnavailable when redis-data is away."""
        replies = await self._redis.run(lambda redis: self._run(redis.pipeline(transaction=False), settlements))
        return [Lease(int(granted), float(left)) for granted, left in replies]

    async def _run(self, pipeline: Pipeline, settlements: Sequence[Settlement]) -> list[tuple[int, bytes]]:
        for each in settlements:
            limit = each.limit
            key = KEY.format(key=each.key)
            pipeline.eval(SETTLE, 1, key, limit.rate, limit.burst, each.spent, each.returned, each.wants)
        return await pipeline.execute()
