"""The machinery beside `rate_limits`: the clock, the loop that settles, and the few requests that wait for it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from gateway.domain.rate_limits import HeldTokens, Lease, Limit, Settlement, Verdict
from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

SETTLE_EVERY = 0.25
"""Seconds between two settlements of what was spent in advance."""
MAX_ROUNDS = 3
"""Settlements that one request waits for at most."""
PATIENCE = 0.3
"""Seconds that one settlement may take before the shared buckets count as away."""


class SharedBuckets(Protocol):
    """The buckets that all gateways draw from."""

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """Settle several keys in one round trip; raises CapabilityUnavailable when they are away."""


class RateLimits:
    """Decides who may ask; belongs to one event loop. `run` settles in the background until it is cancelled."""

    def __init__(self, shared: SharedBuckets, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._held = HeldTokens()
        self._urgent = asyncio.Event()
        self._round: asyncio.Future[None] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether the buckets are those of all gateways."""
        return not self._held.is_alone

    def admit_now(self, key: str, limit: Limit) -> Verdict | None:
        """Count one request of `key`; None when only the shared bucket can tell: then `admit` asks it."""
        return self._held.take(key, limit, self._clock())

    async def admit(self, key: str, limit: Limit) -> Verdict:
        """The same, and wait for a lease when everything held is spent."""
        for _ in range(MAX_ROUNDS):
            verdict = self.admit_now(key, limit)
            if verdict is not None:
                return verdict
            await self._next_round(key, limit)
        return self.admit_now(key, limit) or Verdict(allowed=False, remaining=0, retry_after=1)

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
            settlements = self._held.settlements(self._clock())
            if settlements:
                await self._settle(settlements)
        finally:
            if finished is not None and not finished.done():
                finished.set_result(None)

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        """Whatever keeps the shared buckets from answering, requests go on; what is not an outage is reported."""
        leases: Sequence[Lease] | None = None
        try:
            leases = await self._shared.settle(settlements)
        except CapabilityUnavailable:
            return
        finally:
            if leases is None:
                self._lose()
        if self._held.is_alone:
            log.info("rate_limits_shared")
        self._held.settled(settlements, leases, self._clock())

    async def _next_round(self, key: str, limit: Limit) -> None:
        """Wait for the settlement that includes this key; many waiters share one round trip."""
        self._held.wait(key, limit, self._clock())
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        self._urgent.set()
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(self._round)
        except TimeoutError:
            self._lose()

    def _lose(self) -> None:
        if not self._held.is_alone:
            log.warning("rate_limits_alone")
        self._held.lost()
