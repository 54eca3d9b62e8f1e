"""A circuit breaker: stop asking a dependency that does not answer, and probe it until it does."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

log = structlog.get_logger()

SILENCE = timedelta(milliseconds=450)
"""How long a dependency must have said nothing at all before a wait that we gave up counts against it."""
LATE = timedelta(milliseconds=150)
"""A timer of ours that rings so much too late tells of a busy process, not of the dependency."""


class Breaker:
    """Opens after failures in a row or over time, lets one probe through at a time, closes on its success.

    Not thread-safe: belongs to one event loop. `allows()` must be followed by `succeeded()`, `failed()`,
    `timed_out()` or `abandoned()` (the call ended without a verdict, for example because it was cancelled).
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
        self._heard_at = float("-inf")

    @property
    def now(self) -> float:
        """The time by this breaker's clock, for `timed_out`."""
        return self._clock()

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
        self.heard()
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

    def heard(self) -> None:
        """The dependency sent something, whatever it was and whomever it was for."""
        self._heard_at = self._clock()

    def timed_out(self, since: float, at_most: timedelta | None = None) -> None:
        """We stopped waiting for an answer to what was asked at `since`; `at_most` is what we meant to wait.

        A deadline is ours and says nothing about the dependency, so this is a failure only where it sent nothing to
        anybody for that long: a slow answer among others is no outage, a frozen server is one. Where we waited longer
        than we meant to, it was we who were frozen.
        """
        waited = self._clock() - since
        we_slept = at_most is not None and waited > (at_most + LATE).total_seconds()
        if self._heard_at < since and waited >= SILENCE.total_seconds() and not we_slept:
            self.failed()
        else:
            self.abandoned()

    def abandoned(self) -> None:
        """The call ended without a verdict; the next caller may probe at once."""
        self._next_probe = 0.0
