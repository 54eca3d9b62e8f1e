"""How often somebody may ask: local token buckets that lease their refill, so that no request waits for Redis.

The rule: no clock, no await (`throttle` is the machinery beside it). Each gateway burns tokens it holds. What it holds
comes from one shared bucket per key in redis-data, in leases of half a second's worth, fetched in the background for
all keys at once. A key seen for the first time gets a small advance that is settled with its first lease. While the
shared buckets are away each gateway keeps buckets of its own at half the rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

LEASE_FOR = 0.5
"""Seconds of the full rate that one lease covers."""
ASK_AGAIN = 0.05
"""Seconds for which an empty answer is believed at least."""
FORGET_AFTER = 1.0
"""Seconds after which an idle key gives its tokens back."""
MAX_KEYS = 200_000
"""Keys of which something is known; above it the one known longest is forgotten."""


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


class HeldTokens:
    """What one gateway may let in by itself, and what it owes the shared buckets. Every call carries the time."""

    def __init__(self, most_keys: int = MAX_KEYS) -> None:
        self._most_keys = most_keys
        self._buckets: dict[str, _Bucket] = {}
        self._dirty: set[str] = set()
        self._own: dict[str, tuple[float, float]] = {}
        self.is_alone = False

    def take(self, key: str, limit: Limit, now: float) -> Verdict | None:
        """Count one request of `key`; None when only the shared bucket can tell."""
        if self.is_alone:
            return self._take_alone(key, limit, now)
        bucket = self._bucket(key, limit, now)
        if now < bucket.blocked_until and not bucket.tokens:
            return Verdict(False, 0, max(1, math.ceil(bucket.blocked_until - now)))
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

    def wait(self, key: str, limit: Limit, now: float) -> None:
        """Somebody waits for the next settlement of this key."""
        self._dirty.add(key)
        self._bucket(key, limit, now).waiting += 1

    def settlements(self, now: float) -> list[Settlement]:
        """What there is to settle: keys that spent something, and what idle ones hold."""
        if self.is_alone:
            return [PROBE]
        keys = [key for key in self._dirty if key in self._buckets]
        idle = [k for k, b in self._buckets.items() if k not in self._dirty and now - b.seen > FORGET_AFTER]
        self._dirty.clear()
        settlements = [self._settlement(key, now) for key in keys]
        settlements += [self._farewell(key) for key in idle if self._buckets[key].tokens]
        for key in idle:
            del self._buckets[key]
        return settlements

    def settled(self, settlements: Sequence[Settlement], leases: Sequence[Lease], now: float) -> None:
        """The shared buckets answered."""
        self.is_alone = False
        self._own.clear()
        for settlement, lease in zip(settlements, leases, strict=True):
            self._apply(settlement, lease, now)

    def lost(self) -> None:
        """The shared buckets are away: from now on this gateway has buckets of its own."""
        self.is_alone = True
        self._buckets.clear()
        self._dirty.clear()

    def _bucket(self, key: str, limit: Limit, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._most_keys:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = _Bucket(limit, now)
        bucket.limit = limit
        bucket.seen = now
        return bucket

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

    def _apply(self, settlement: Settlement, lease: Lease, now: float) -> None:
        bucket = self._buckets.get(settlement.key)
        if bucket is None:
            return
        bucket.tokens += lease.granted
        bucket.left = lease.left
        if not settlement.wants:
            bucket.advance = max(0, min(_advance(bucket.limit), int(lease.left)))
        elif lease.granted < settlement.wants:
            bucket.blocked_until = now + max(ASK_AGAIN, (1 - lease.left) / bucket.limit.rate)

    def _take_alone(self, key: str, limit: Limit, now: float) -> Verdict:
        """An own bucket at half the rate, so that two gateways together stay near the limit."""
        rate, burst = limit.rate / 2, max(1.0, limit.burst / 2)
        if key not in self._own and len(self._own) >= self._most_keys:
            del self._own[next(iter(self._own))]
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
