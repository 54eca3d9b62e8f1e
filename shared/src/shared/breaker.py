"""A circuit breaker: stop asking a dependency that does not answer, and probe it until it does."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

log = structlog.get_logger()


class Breaker:
    """Opens after failures in a row or over time, lets one probe through at a time, closes on its success.

    Not thread-safe: belongs to one event loop. `allows()` must be followed by `succeeded()`, `failed()` or
    `abandoned()` (the call ended without a verdict, for example because it was cancelled).
    """

    def __init__(
        self,
        dependency: str,
        *,
        failures: int = 3,
        probe_every: timedelta = timedelta(seconds=1),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dependency = dependency
        self._limit = failures
        self._probe_every = probe_every.total_seconds()
        self._clock = clock
        self._failures = 0
        self._next_probe = 0.0
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether the dependency counts as away."""
        return self._is_open

    def allows(self) -> bool:
        """Whether a call may be made now; while open, one probe per interval."""
        if not self._is_open:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._probe_every
        return True

    def succeeded(self) -> None:
        """The dependency answered."""
        self._failures = 0
        if self._is_open:
            self._is_open = False
            log.info("breaker_closed", dependency=self.dependency)

    def failed(self) -> None:
        """The dependency did not answer, or said that it cannot."""
        self._failures += 1
        if self._is_open:
            self._next_probe = self._clock() + self._probe_every
        elif self._failures >= self._limit:
            self._is_open = True
            self._next_probe = self._clock() + self._probe_every
            log.warning("breaker_opened", dependency=self.dependency, failures=self._failures)

    def abandoned(self) -> None:
        """The call ended without a verdict; the next caller may probe at once."""
        self._next_probe = 0.0
