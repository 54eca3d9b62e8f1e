"""What auth-service promises to its neighbours: quota, organizations and revocations."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.contracts import Contract

Meter = Literal["messages", "tasks"]
Plan = Literal["free", "pro", "enterprise"]


class LeaseRequest(Contract):
    """Ask for up to `want` units of a meter; `holder` names the asking process."""

    organization_id: str
    meter: Meter = "messages"
    want: Annotated[int, Field(ge=1, le=1_000)]
    holder: str


class Lease(Contract):
    """Units granted until `expires_at`; `granted` 0 means the plan is spent until `resets_at`.

    `lifetime_seconds` says the same to a holder whose clock is another than the sender's.
    `used` counts recorded usage of the period, `limit` None is unlimited.
    """

    lease_id: str
    granted: int
    used: int
    limit: int | None
    expires_at: datetime
    resets_at: datetime
    plan: Plan
    lifetime_seconds: float | None = None


class UsageEvent(Contract):
    """One charged unit; recorded exactly once by (organization_id, event_id)."""

    organization_id: str
    meter: Meter = "messages"
    event_id: str
    lease_id: str | None = None
    occurred_at: datetime


class LeaseReturn(Contract):
    """Units of a lease that will not be burned."""

    organization_id: str
    meter: Meter = "messages"
    lease_id: str
    unburned: Annotated[int, Field(ge=0)]


class UsageReport(Contract):
    """A batch of usage with the leases that come back with it."""

    events: list[UsageEvent] = []
    returns: list[LeaseReturn] = []


class UsageRecorded(Contract):
    """How many events were new and how many had been recorded before."""

    recorded: int
    duplicates: int


class ReservationRequest(Contract):
    """Reserve one unit for `event_id` (a task id)."""

    organization_id: str
    meter: Meter = "tasks"
    event_id: str


class Reservation(Contract):
    """A reserved unit, counted in `used` until it is refunded."""

    reservation_id: str
    used: int
    limit: int | None
    resets_at: datetime


class ReservationSettlement(Contract):
    """Whose reservation is committed or refunded."""

    organization_id: str


class OrganizationProfile(Contract):
    """What neighbours may know of an organization; `sample`: it answers from the starter knowledge base."""

    id: str
    name: str
    plan: Plan
    sample: bool


class RevokedUntil(Contract):
    """An access token (or session) id that must be refused until it would have expired anyway."""

    id: str
    expires_at: datetime


class RevokedBefore(Contract):
    """A user or organization whose tokens issued before `not_before` must be refused."""

    id: str
    not_before: datetime


class Revocations(Contract):
    """The full list of what is revoked; small, since access tokens live 15 minutes."""

    as_of: datetime
    jtis: list[RevokedUntil] = []
    sessions: list[RevokedUntil] = []
    users: list[RevokedBefore] = []
    organizations: list[RevokedBefore] = []
