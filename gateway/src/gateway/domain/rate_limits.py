"""How often somebody may ask: local token buckets that lease their refill, so that no request waits for Redis.

Each gateway burns tokens it holds. What it holds comes from one shared bucket per key in redis-data, in leases of half
a second's worth, fetched in the background for all keys at once. A key seen for the first time gets a small advance
that is settled with its first lease. While the shared buckets are away each gateway keeps buckets of its own at half
the rate.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import structlog

from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

SETTLE_EVERY = 0.25
"""Seconds between two settlements of what was spent in advance."""
LEASE_FOR = 0.5
"""Seconds of the full rate that one lease covers."""
ASK_AGAIN = 0.05
"""Seconds for which an empty answer is believed at least."""
FORGET_AFTER = 1.0
"""Seconds after which an idle key gives its tokens back."""
MAX_ROUNDS = 3
"""Settlements that one request waits for at most."""
MAX_KEYS = 200_000


@dataclass(frozen=True)
class Limit:
    """`rate` requests a second on average, `burst` at once."""

    rate: float
    burst: int

    @cached_property
    def policy(self) -> bytes:
        """The RateLimit-Policy header: `burst` in the time it takes to fill up again."""
        return b'"default";q=%d;w=%d' % (self.burst, math.ceil(self.burst / self.rate))


PLANS: Mapping[str, Limit] = {
    "free": Limit(5, 20),
    "pro": Limit(20, 60),
    "enterprise": Limit(100, 300),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is let in; `remaining` requests are left, `retry_after` whole seconds until the next one."""

    allowed: bool
    remaining: int
    retry_after: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one gateway tells of one key: `spent` in advance, `returned` from a lease, and how many it `wants`."""

    key: str
    limit: Limit
    spent: int
    returned: int
    wants: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer to a Settlement: `granted` tokens, and what is left in the shared bucket (below 0: overdrawn)."""

    granted: int
    left: float


PROBE = Settlement("probe", Limit(1, 1), spent=0, returned=0, wants=0)
"""Settled while the shared buckets are away, to see whether they are back."""


class SharedBuckets(Protocol):
    """The buckets that all gateways draw from."""

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """Settle several keys in one round trip; raises CapabilityUnavailable when they are away."""


class _Bucket:
    """What this gateway holds for one key."""

    __slots__ = ("advance", "blocked_until", "demand", "left", "limit", "seen", "spent", "tokens", "waiting")

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self.advance = _advance(limit)
        self.tokens = 0
        self.spent = 0
        self.demand = 0
        self.waiting = 0
        self.left = float(limit.burst)
        self.blocked_until = 0.0
        self.seen = now


class RateLimits:
    """Decides who may ask; belongs to one event loop. `run` settles in the background until it is cancelled."""

    def __init__(self, shared: SharedBuckets, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._dirty: set[str] = set()
        self._urgent = asyncio.Event()
        self._round: asyncio.Future[None] | None = None
        self._is_alone = False
        self._own: dict[str, tuple[float, float]] = {}

    async def admit(self, key: str, limit: Limit) -> Verdict:
        """Count one request of `key`; waits for a lease only when everything held is spent."""
        verdict = self.admit_now(key, limit)
        if verdict is not None:
            return verdict
        for _ in range(MAX_ROUNDS):
            await self._next_round(key, limit)
            verdict = self.admit_now(key, limit)
            if verdict is not None:
                return verdict
        return Verdict(allowed=False, remaining=0, retry_after=1)

    def admit_now(self, key: str, limit: Limit) -> Verdict | None:
        """The same without waiting; None when only the shared bucket can tell: then `admit` asks it."""
        now = self._clock()
        if self._is_alone:
            return self._admit_alone(key, limit, now)
        bucket = self._bucket(key, limit, now)
        if now < bucket.blocked_until and not bucket.tokens:
            return Verdict(False, 0, max(1, math.ceil(bucket.blocked_until - now)))
        return self._take(key, bucket)

    async def run(self) -> None:
        """Settle again and again."""
        while True:
            try:
                async with asyncio.timeout(SETTLE_EVERY):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._urgent.clear()
            await self.settle()

    async def settle(self) -> None:
        """Settle every key that spent something, and give back what idle keys hold."""
        finished, self._round = self._round, None
        try:
            settlements = [PROBE] if self._is_alone else self._settlements(self._clock())
            if settlements:
                await self._settle(settlements)
        finally:
            if finished is not None and not finished.done():
                finished.set_result(None)

    def _bucket(self, key: str, limit: Limit, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_KEYS:
                self._buckets.clear()
                self._dirty.clear()
            bucket = self._buckets[key] = _Bucket(limit, now)
        bucket.limit = limit
        bucket.seen = now
        return bucket

    def _take(self, key: str, bucket: _Bucket) -> Verdict | None:
        bucket.demand += 1
        if bucket.tokens > 0:
            bucket.tokens -= 1
            if bucket.tokens <= _lease_size(bucket.limit) // 2:
                self._dirty.add(key)
        elif bucket.advance > 0:
            bucket.advance -= 1
            bucket.spent += 1
            self._dirty.add(key)
        else:
            return None
        return Verdict(allowed=True, remaining=max(0, int(bucket.left) - bucket.spent + bucket.tokens), retry_after=0)

    async def _next_round(self, key: str, limit: Limit) -> None:
        """Wait for the settlement that includes this key; many waiters share one round trip."""
        self._dirty.add(key)
        self._bucket(key, limit, self._clock()).waiting += 1
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        self._urgent.set()
        await asyncio.shield(self._round)

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        try:
            leases = await self._shared.settle(settlements)
        except CapabilityUnavailable:
            if not self._is_alone:
                log.warning("rate_limits_alone")
            self._is_alone = True
            self._buckets.clear()
            return
        if self._is_alone:
            log.info("rate_limits_shared")
            self._is_alone = False
            self._own.clear()
        for settlement, lease in zip(settlements, leases, strict=True):
            self._apply(settlement, lease)

    def _settlements(self, now: float) -> list[Settlement]:
        keys = [key for key in self._dirty if key in self._buckets]
        idle = [k for k, b in self._buckets.items() if k not in self._dirty and now - b.seen > FORGET_AFTER]
        self._dirty.clear()
        settlements = [self._settlement(key, now) for key in keys]
        settlements += [self._farewell(key) for key in idle if self._buckets[key].tokens]
        for key in idle:
            del self._buckets[key]
        return settlements

    def _settlement(self, key: str, now: float) -> Settlement:
        """Ask for a lease only where there is demand: somebody who asks now and then lives on advances."""
        bucket = self._buckets[key]
        size = max(_lease_size(bucket.limit), bucket.waiting)
        is_busy = bool(bucket.waiting) or bucket.demand * 2 >= size
        wants = max(0, size - bucket.tokens) if is_busy and now >= bucket.blocked_until else 0
        spent, bucket.spent = bucket.spent, 0
        bucket.advance = bucket.demand = bucket.waiting = 0
        return Settlement(key, bucket.limit, spent, 0, wants)

    def _farewell(self, key: str) -> Settlement:
        bucket = self._buckets[key]
        return Settlement(key, bucket.limit, bucket.spent, bucket.tokens, 0)

    def _apply(self, settlement: Settlement, lease: Lease) -> None:
        bucket = self._buckets.get(settlement.key)
        if bucket is None:
            return
        bucket.tokens += lease.granted
        bucket.left = lease.left
        if not settlement.wants:
            bucket.advance = max(0, min(_advance(bucket.limit), int(lease.left)))
        elif lease.granted < settlement.wants:
            bucket.blocked_until = self._clock() + max(ASK_AGAIN, (1 - lease.left) / bucket.limit.rate)

    def _admit_alone(self, key: str, limit: Limit, now: float) -> Verdict:
        """An own bucket at half the rate, so that two gateways together stay near the limit."""
        rate, burst = limit.rate / 2, max(1.0, limit.burst / 2)
        if len(self._own) >= MAX_KEYS:
            self._own.clear()
        tokens, at = self._own.get(key, (burst, now))
        tokens = min(burst, tokens + (now - at) * rate)
        allowed = tokens >= 1
        self._own[key] = (tokens - 1 if allowed else tokens, now)
        wait = 0 if allowed else max(1, math.ceil((1 - tokens) / rate))
        return Verdict(allowed=allowed, remaining=int(tokens - 1) if allowed else 0, retry_after=wait)


def _advance(limit: Limit) -> int:
    return max(1, limit.burst // 4)


def _lease_size(limit: Limit) -> int:
    return max(1, math.ceil(limit.rate * LEASE_FOR))
