"""Who may begin now, who waits a moment, who is refused: decided before any work is done. No clock, no await.

A pool is a set of classes that compete for the same work. How many of its requests are worked on at once follows the
latency that is measured; each class has a share that nobody can take and a ceiling up to which it may use what is idle;
within a class the organization with the fewest requests under way goes first. A wait is bounded in time, not in number:
who would wait longer is refused at once.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["background", "analytics", "search", "chat_free", "chat_paid", "login"]
State = Literal["admitted", "waiting", "refused", "left"]

MAX_WAIT = 0.05
"""Seconds that a request may wait for its turn."""
WINDOW = 0.25
"""Seconds over which latency is averaged before the limit moves."""
MIN_SAMPLES = 10
TOLERANCE = 2.0
"""How many times its usual latency a request may take before the limit falls."""
SMOOTHING = 0.2
HEADROOM = 4
"""By how much the limit may grow in a window while latency stays as it is."""
STEEPEST = 0.5
LEAST_BASELINE = 0.01
"""Seconds below which latency says nothing of load: a cached answer that takes 6 ms rather than 2 is no congestion."""
FALLS, RISES, RISES_BUSY = 0.1, 1 / 600, 1 / 60_000
"""How fast the usual latency follows the measured one in a window: down, up, and up while the pool is more than half
full. The last is what keeps an hour of overload from becoming the new usual."""
MAX_RETRY_AFTER = 10


class ConcurrencyLimit:
    """How many requests may be under way at once, from their latency.

    Netflix's Gradient2 (github.com/Netflix/concurrency-limits): limit = limit * gradient + headroom, with
    gradient = tolerance * usual / measured latency, between 0.5 and 1, and no growth while less than half is in use.
    Three changes: latency is measured against the usual one of the same operation, so that another mix of
    operations is not taken for congestion; the usual latency hardly rises while the pool is full; only a fall is
    smoothed, so that a pool is back seconds after an overload.
    """

    def __init__(self, *, initial: float = 32, smallest: float = 16, largest: float = 256) -> None:
        self.value = min(largest, max(smallest, initial))
        self._smallest = min(smallest, largest)
        self._largest = largest
        self._usual: dict[str, float] = {}
        self._window: dict[str, list[float]] = {}
        self._count = 0
        self._ends_at = 0.0
        self._peak = 0

    def began(self, in_flight: int) -> None:
        """A request began; so many are under way with it."""
        self._peak = max(self._peak, in_flight)

    def ended(self, operation: str, seconds: float, now: float) -> None:
        """A request of `operation` took so long."""
        if self._count == 0:
            self._ends_at = now + WINDOW
        self._count += 1
        total = self._window.setdefault(operation, [0.0, 0.0])
        total[0] += seconds
        total[1] += 1
        if now >= self._ends_at and self._count >= MIN_SAMPLES:
            self._move()

    def _move(self) -> None:
        slowness = self._slowness()
        if self._is_busy:
            gradient = max(STEEPEST, min(1.0, TOLERANCE / slowness))
            wanted = self.value * gradient + HEADROOM
            self.value += (wanted - self.value) * (SMOOTHING if wanted < self.value else 1)
            self.value = max(self._smallest, min(self._largest, self.value))
        self._window.clear()
        self._count = self._peak = 0

    def _slowness(self) -> float:
        """Measured latency as a multiple of the usual one, over all requests of the window."""
        weighted = 0.0
        for operation, (seconds, count) in self._window.items():
            measured = seconds / count
            usual = self._usual.get(operation, measured)
            weighted += count * measured / max(usual, LEAST_BASELINE)
            self._usual[operation] = usual + (measured - usual) * self._pace(measured, usual)
        return max(weighted / self._count, 1e-9)

    @property
    def _is_busy(self) -> bool:
        return self._peak >= self.value / 2

    def _pace(self, measured: float, usual: float) -> float:
        if measured < usual:
            return FALLS
        return RISES_BUSY if self._is_busy else RISES


@dataclass(frozen=True, slots=True)
class Share:
    """Parts (0-1) of a pool: `guaranteed` is kept for the class, `ceiling` is how full the pool may be for it."""

    guaranteed: float
    ceiling: float


SHARES: Mapping[str, Mapping[Kind, Share]] = {
    "interactive": {
        "analytics": Share(0.1, 0.5),
        "search": Share(0.2, 0.75),
        "chat_free": Share(0.3, 0.9),
        "chat_paid": Share(0.4, 1.0),
    },
    "login": {"login": Share(1.0, 1.0)},
    "background": {"background": Share(1.0, 1.0)},
}
"""Passwords and imports have pools of their own: their latency says nothing of that of a question, nor the reverse."""


@dataclass(eq=False, slots=True)
class Ticket:
    """One request at the entrance. `retry_after`: whole seconds after which a refused one has a chance."""

    kind: Kind
    organization: str
    asked_at: float
    state: State = "waiting"
    began_at: float = 0.0
    retry_after: int = 0

    @property
    def has_waited(self) -> bool:
        """Whether it was admitted later than it came."""
        return self.began_at > self.asked_at


@dataclass(slots=True)
class _Class:
    """What is known of one class: its requests under way, those that wait by organization, and how fast they leave."""

    share: Share
    held: int = 0
    waiting: dict[str, deque[Ticket]] = field(default_factory=dict)
    admitted: int = 0
    refused: int = 0
    admitted_in_all: int = 0
    refused_in_all: int = 0
    pressure: float = 0.0
    pace: float = 0.0
    counted_since: float | None = None


class Pool:
    """Admission to one pool. Every call carries the time, in seconds; tickets returned are those whose turn it is."""

    def __init__(self, limit: ConcurrencyLimit, shares: Mapping[Kind, Share]) -> None:
        self.limit = limit
        self._classes = {kind: _Class(share) for kind, share in shares.items()}
        self._held_by: dict[str, int] = {}
        self.in_flight = 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The classes that compete here."""
        return tuple(self._classes)

    def ask(self, kind: Kind, organization: str, now: float) -> Ticket:
        """A request wants in: its ticket is admitted, waiting or refused."""
        ticket = Ticket(kind, organization, now)
        known = self._classes[kind]
        self._count(known, now)
        if not known.waiting and self._has_room(known):
            self._admit(ticket, now)
        elif len(known.waiting.get(organization, ())) >= self._queue_room(known):
            self._refuse(ticket)
        else:
            known.waiting.setdefault(organization, deque()).append(ticket)
        return ticket

    def leave(self, ticket: Ticket, now: float, *, operation: str | None = None) -> list[Ticket]:
        """A request is over; `operation` names what its duration is compared with, None where it says nothing."""
        if ticket.state == "waiting":
            self._withdraw(ticket)
        elif ticket.state == "admitted":
            self._release(ticket)
            if operation is not None:
                self.limit.ended(operation, now - ticket.began_at, now)
        ticket.state = "left"
        return list(self._next(now))

    def expire(self, now: float) -> list[Ticket]:
        """Refuse those who have waited too long."""
        late: list[Ticket] = []
        while (first := min(self._heads(), key=_asked_at, default=None)) and now - first.asked_at >= MAX_WAIT:
            self._withdraw(first)
            self._refuse(first)
            late.append(first)
        return late

    def next_expiry(self) -> float | None:
        """When the first of those who wait will have waited too long."""
        first = min(self._heads(), key=_asked_at, default=None)
        return first.asked_at + MAX_WAIT if first else None

    def report(self) -> Mapping[Kind, tuple[int, int, int]]:
        """Requests under way, admitted so far and refused so far, of each class."""
        return {kind: (c.held, c.admitted_in_all, c.refused_in_all) for kind, c in self._classes.items()}

    def _heads(self) -> Iterator[Ticket]:
        return (queue[0] for known in self._classes.values() for queue in known.waiting.values())

    def _has_room(self, known: _Class) -> bool:
        limit = self.limit.value
        return self.in_flight < max(1.0, limit * known.share.ceiling) or known.held < max(
            1.0, limit * known.share.guaranteed
        )

    def _queue_room(self, known: _Class) -> int:
        """How many of one organization can have their turn in time: those who leave in it, shared by all who wait."""
        leaving = max(self.limit.value * known.share.ceiling, known.pace * MAX_WAIT)
        return max(1, math.ceil(leaving / max(1, len(known.waiting))))

    def _admit(self, ticket: Ticket, now: float) -> None:
        known = self._classes[ticket.kind]
        ticket.state, ticket.began_at = "admitted", now
        known.held += 1
        known.admitted += 1
        known.admitted_in_all += 1
        self.in_flight += 1
        self._held_by[ticket.organization] = self._held_by.get(ticket.organization, 0) + 1
        self.limit.began(self.in_flight)

    def _release(self, ticket: Ticket) -> None:
        self._classes[ticket.kind].held -= 1
        self.in_flight -= 1
        left = self._held_by[ticket.organization] - 1
        if left:
            self._held_by[ticket.organization] = left
        else:
            del self._held_by[ticket.organization]

    def _refuse(self, ticket: Ticket) -> None:
        known = self._classes[ticket.kind]
        known.refused += 1
        known.refused_in_all += 1
        ticket.state = "refused"
        ticket.retry_after = min(MAX_RETRY_AFTER, 1 + int(known.pressure))

    def _withdraw(self, ticket: Ticket) -> None:
        waiting = self._classes[ticket.kind].waiting
        queue = waiting[ticket.organization]
        queue.remove(ticket)
        if not queue:
            del waiting[ticket.organization]

    def _next(self, now: float) -> Iterator[Ticket]:
        """Fill what is free: classes below their share first, then the class that may use the most of the pool."""
        while candidates := [c for c in self._classes.values() if c.waiting and self._has_room(c)]:
            known = min(candidates, key=self._urgency)
            organization = min(known.waiting, key=lambda name: self._held_by.get(name, 0))
            ticket = known.waiting[organization][0]
            self._withdraw(ticket)
            self._admit(ticket, now)
            yield ticket

    def _urgency(self, known: _Class) -> tuple[bool, float]:
        return known.held >= self.limit.value * known.share.guaranteed, -known.share.ceiling

    def _count(self, known: _Class, now: float) -> None:
        """Once a second: how fast the class leaves, and how many are refused for each that is let in."""
        if known.counted_since is None:
            known.counted_since = now
        elapsed = now - known.counted_since
        if elapsed < 1:
            return
        known.pace = known.admitted / elapsed
        known.pressure = known.refused / max(1, known.admitted)
        known.admitted = known.refused = 0
        known.counted_since = now


def _asked_at(ticket: Ticket) -> float:
    return ticket.asked_at
