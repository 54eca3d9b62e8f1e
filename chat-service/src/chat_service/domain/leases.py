"""The rules of leases: which held unit a message takes, how many are asked for, what a grant or its absence means.

Nothing here waits: `quota.py` asks auth-service and lets messages wait, and asks these rules what to do.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.errors import QuotaExceeded

SMALLEST = 20
LARGEST = 500
"""Units asked for at once; what is held must carry an organization through a short outage of the accounts."""
NEAR = 4
"""A grant of so few units, though more were asked for, means that the limit is near."""
RENEW_BEFORE = timedelta(seconds=10)
REST = timedelta(seconds=1)
"""How long the answers "spent" and "away" are believed."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as granted, for `lifetime` from when it was asked for; `granted` 0 while nothing can be had.

    `used` is recorded usage, `limit` None is none.
    """

    lease_id: str
    granted: int
    used: int
    limit: int | None
    lifetime: timedelta
    resets_at: datetime

    @property
    def is_refusal(self) -> bool:
        """The plan is spent; without this a grant of nothing means that all units are out, and may come back."""
        return not self.granted and self.limit is not None and self.used >= self.limit

    @property
    def refusal(self) -> QuotaExceeded:
        """What whoever asks for a unit is told."""
        wait = self.resets_at.timestamp() - datetime.now(UTC).timestamp()
        return QuotaExceeded(retry_after=max(1, int(wait)), resets_at=self.resets_at.isoformat())


@dataclass(frozen=True, slots=True)
class LeaseReturn:
    """Units that will not be burned."""

    organization_id: str
    lease_id: str
    unburned: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organization has used of its plan this period, as far as this process knows."""

    used: int
    limit: int | None

    @property
    def remaining(self) -> int | None:
        """What is left; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(slots=True, eq=False)
class Lease:
    """Units that may be burned until they expire."""

    id: str
    left: int
    expires_at: float


@dataclass(slots=True)
class Holding:
    """What this process holds of one organization's plan; `now` is seconds by any clock, the same in every call."""

    organization_id: str
    leases: list[Lease] = field(default_factory=list)
    used: int = 0
    unrecorded: int = 0
    limit: int | None = None
    size: int = SMALLEST
    is_near: bool = False
    refusal: QuotaExceeded | None = None
    refused_until: float = float("-inf")
    away_until: float = float("-inf")
    granted_at: float = float("-inf")

    @property
    def usage(self) -> Usage:
        """Recorded usage and what was charged since."""
        return Usage(self.used + self.unrecorded, self.limit)

    def left(self, now: float) -> int:
        """Units that may be burned."""
        return sum(lease.left for lease in self.leases if lease.expires_at > now)

    def take(self, now: float) -> Lease | None:
        """The lease that a unit was taken from, the one that was granted first; None when none is left.

        While the accounts are away, units are burned even past their expiry.
        """
        for lease in self.leases:
            if lease.left > 0 and (lease.expires_at > now or now < self.away_until):
                lease.left -= 1
                return lease
        return None

    def put_back(self, lease: Lease) -> None:
        """A unit was taken and not burned."""
        lease.left += 1
        if lease not in self.leases:
            self.leases.append(lease)  # its other units were returned meanwhile

    def refused(self, now: float) -> QuotaExceeded | None:
        """The refusal that still holds."""
        return self.refusal if now < self.refused_until else None

    def should_renew(self, now: float) -> bool:
        """Whether to ask ahead: a quarter of what is usually asked for is all that will be left in a while."""
        if self.is_near or now < self.away_until or now < self.refused_until:
            return False
        return self.left(now + RENEW_BEFORE.total_seconds()) <= self.size // 4

    def want(self, waiting: int) -> int:
        """How many units to ask for: near the limit one for each that waits, else a stock for the time to come."""
        return waiting if self.is_near and waiting else min(LARGEST, waiting + self.size)

    def learn(self, grant: Grant, want: int, *, asked_at: float, now: float) -> None:
        """Take a grant in, and size the next by how fast the last one was used up."""
        if now - self.granted_at < RENEW_BEFORE.total_seconds():
            self.size = min(LARGEST, self.size * 2)
        elif self.left(now) > self.size // 2:
            self.size = max(SMALLEST, self.size // 2)
        self.granted_at = now
        self.used, self.limit = grant.used, grant.limit
        self.is_near = grant.limit is not None and grant.granted < min(want, NEAR + 1)
        self.away_until = float("-inf")
        if grant.granted:
            self.leases = [lease for lease in self.leases if lease.left and lease.expires_at > now]
            # At least as long as it takes to serve who waits, or a slow reply would be asked for again and again.
            expires_at = max(asked_at + grant.lifetime.total_seconds(), now + REST.total_seconds())
            self.leases.append(Lease(grant.lease_id, grant.granted, expires_at))
        elif grant.is_refusal:
            self.refusal, self.refused_until = grant.refusal, now + REST.total_seconds()

    def went_away(self, now: float) -> None:
        """The accounts could not be asked."""
        self.away_until = now + REST.total_seconds()

    def give_up(self, now: float) -> list[LeaseReturn]:
        """Hand out every unit that lives, to be returned."""
        living = [lease for lease in self.leases if lease.left > 0 and lease.expires_at > now]
        returns = [LeaseReturn(self.organization_id, lease.id, lease.left) for lease in living]
        for lease in living:
            lease.left = 0
        self.leases.clear()
        return returns

    def keep(self, back: LeaseReturn, now: float) -> None:
        """It could not be returned, so it may be burned; its expiry is near enough."""
        self.leases.append(Lease(back.lease_id, back.unburned, now + RENEW_BEFORE.total_seconds()))

    def recorded(self) -> None:
        """The ledger has taken a unit that was charged."""
        if self.unrecorded:
            self.unrecorded -= 1
            self.used += 1
