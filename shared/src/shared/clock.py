"""Time that replicas agree on: what orders the writes of one row, whatever the clocks of their machines say."""

import time
from collections.abc import Awaitable, Callable

STEP = 1_000_000
"""Microseconds by which time may be put back before stamps that were too late are forgotten."""
DRIFT = 10_000
"""A quartz clock strays by at most one part in so many: an old comparison is worth that much less than a new one."""


class HybridClock:
    """Microseconds since 1970 by the clock of an engine that all replicas share, never twice the same.

    The engine is asked now and then (`compare`); between that the monotonic clock counts on, so a machine whose wall
    clock is wrong, or is put right meanwhile, stamps like the others. `after` orders a write behind versions that were
    read before it, which holds even where no engine could be asked. See docs/adr/0011.
    """

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._base = wall() - monotonic()
        self._uncertainty: int | None = None
        self._compared_at = 0
        self._last = 0
        self.skew_ms: int | None = None
        """By how much the wall clock of this machine is ahead of the engine's; None before the first comparison."""

    def now(self) -> int:
        """A stamp later than any this process gave before."""
        self._last = max(self._last + 1, (self._base + self._monotonic()) // 1000)
        return self._last

    def after(self, *versions: int | None) -> int:
        """A stamp for a write that follows writes which were read; None is one that was not there."""
        return max([self.now(), *(version + 1 for version in versions if version is not None)])

    async def compare(self, engine_time: Callable[[], Awaitable[int]]) -> None:
        """Ask an engine for its time in microseconds; raises what `engine_time` raises."""
        asked = self._monotonic()
        engine = await engine_time() * 1000
        answered = self._monotonic()
        uncertainty = (answered - asked) // 2
        base = engine + uncertainty - answered
        self.skew_ms = round((self._wall() - self._monotonic() - base) / 1_000_000)
        if self._uncertainty is not None:
            known = self._uncertainty + (answered - self._compared_at) // DRIFT
            if uncertainty > known and abs(base - self._base) <= uncertainty + known:
                return  # a reply that took longer knows less, unless time was put right or this machine slept
        if self._base - base > STEP * 1000:
            self._last = 0
        self._base, self._uncertainty, self._compared_at = base, uncertainty, answered
