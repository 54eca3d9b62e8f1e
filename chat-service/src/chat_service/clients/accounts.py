"""auth-service: leases of message units, and the usage ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from chat_service.clients.away import away_as
from chat_service.domain import leases, quota
from chat_service.domain.leases import Grant
from shared.contracts.auth import Lease, LeaseRequest, LeaseReturn, UsageEvent, UsageRecorded, UsageReport
from shared.http_client import ServiceClient


class AuthAccounts:
    """Units from auth-service for this process, which is the holder of its leases."""

    def __init__(self, auth: ServiceClient, holder: str) -> None:
        self._auth = auth
        self._holder = holder

    async def lease(self, organization_id: str, want: int) -> Grant:
        """Up to `want` units."""
        request = LeaseRequest(organization_id=organization_id, want=want, holder=self._holder)
        with away_as("accounts"):
            lease = await self._auth.post("/internal/quota/leases", request, Lease)
        return Grant(lease.lease_id, lease.granted, lease.used, lease.limit, lifetime_of(lease), lease.resets_at)

    async def report(self, events: Sequence[quota.UsageEvent], returns: Sequence[leases.LeaseReturn]) -> None:
        """Record usage and give units back."""
        report = UsageReport(
            events=[
                UsageEvent(
                    organization_id=event.organization_id,
                    event_id=event.event_id,
                    lease_id=event.lease_id,
                    occurred_at=event.occurred_at,
                )
                for event in events
            ],
            returns=[
                LeaseReturn(organization_id=back.organization_id, lease_id=back.lease_id, unburned=back.unburned)
                for back in returns
            ],
        )
        with away_as("accounts"):
            await self._auth.post("/internal/quota/usage", report, UsageRecorded, repeat=True)


def lifetime_of(lease: Lease) -> timedelta:
    """How long the lease lives, not until when: the clock of auth-service may be another than ours."""
    if lease.lifetime_seconds is not None:
        return timedelta(seconds=lease.lifetime_seconds)
    return lease.expires_at - datetime.now(UTC)
