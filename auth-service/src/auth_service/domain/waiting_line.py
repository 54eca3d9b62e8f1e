"""Who is served next and who is sent away: a line bounded by the time that its last one would wait."""

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from shared.errors import Overloaded

RECENT = 0.1
"""Weight of the newest cost in the running mean: about the last ten count."""


@dataclass(eq=False, slots=True)
class Place:
    """Somebody in the line. `is_known`: they come before everybody who is not."""

    is_known: bool
    state: Literal["waiting", "served", "gone"] = field(default="waiting")


class WaitingLine:
    """First come, first served, the known before strangers; nobody is let in who would wait longer than `patience`."""

    def __init__(self, *, servers: int, patience: timedelta, cost: timedelta) -> None:
        self._servers = servers
        self._patience = patience
        self._cost = cost
        self._busy = 0
        self._known: deque[Place] = deque()
        self._strangers: deque[Place] = deque()

    def __len__(self) -> int:
        return len(self._known) + len(self._strangers)

    def wait(self, *, is_known: bool) -> timedelta:
        """How long somebody who came now would wait."""
        return self._wait_behind(len(self._known) if is_known else len(self))

    def join(self, *, is_known: bool) -> tuple[Place, list[Place]]:
        """A place at the end, and the strangers who must go for it, last come first. Raises Overloaded."""
        self.refuse_full(is_known=is_known)
        place = Place(is_known)
        (self._known if is_known else self._strangers).append(place)
        return place, list(self._shed())

    def refuse_full(self, *, is_known: bool) -> None:
        """Raises Overloaded when somebody who came now would wait too long."""
        if self.wait(is_known=is_known) > self._patience:
            raise self.overloaded(is_known=is_known)

    def overloaded(self, *, is_known: bool) -> Overloaded:
        """What somebody who is sent away is told: by when they would be let in if nobody else came."""
        each = self._cost / self._servers
        served = math.ceil((self.wait(is_known=is_known) - self._patience) / each)
        return Overloaded(retry_after=max(1, math.ceil((served * each).total_seconds())))

    def take(self) -> Place | None:
        """The next one to be served; None while all servers are busy or nobody waits."""
        if self._busy >= self._servers or not len(self):
            return None
        place = (self._known or self._strangers).popleft()
        place.state = "served"
        self._busy += 1
        return place

    def leave(self, place: Place, cost: timedelta | None = None) -> None:
        """They have been served, at this cost, or went away."""
        if place.state == "waiting":
            (self._known if place.is_known else self._strangers).remove(place)
        if place.state == "served":
            self._busy -= 1
        if cost is not None:
            self._cost += RECENT * (cost - self._cost)
        place.state = "gone"

    def _wait_behind(self, ahead: int) -> timedelta:
        free = self._servers - self._busy
        return max(0, ahead + 1 - free) * self._cost / self._servers

    def _shed(self) -> list[Place]:
        """Strangers for whom the known left no time: those who came last have waited least."""
        gone = []
        while self._strangers and self._wait_behind(len(self) - 1) > self._patience:
            gone.append(self._strangers.pop())
            gone[-1].state = "gone"
        return gone
