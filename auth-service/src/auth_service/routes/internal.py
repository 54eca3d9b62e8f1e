"""What neighbours ask: quota, revocations, organizations."""

from collections import defaultdict
from uuid import UUID

from fastapi import APIRouter, Depends

from auth_service.domain import quota as domain
from auth_service.domain.accounts import Accounts
from auth_service.domain.quota import Quota
from auth_service.domain.sessions import Revocation, RevocationList
from auth_service.routes.parameters import known_id
from shared.bodies import StrictRoute
from shared.callers import internal_caller
from shared.contracts.auth import (
    Lease,
    LeaseRequest,
    OrganizationProfile,
    Reservation,
    ReservationRequest,
    ReservationSettlement,
    Revocations,
    RevokedBefore,
    RevokedUntil,
    UsageRecorded,
    UsageReport,
)
from shared.ids import parse_id
from shared.parts import Part

router = APIRouter(
    prefix="/internal", include_in_schema=False, route_class=StrictRoute, dependencies=[Depends(internal_caller)]
)


@router.post("/quota/leases")
async def lease(body: LeaseRequest, quota: Part[Quota]) -> Lease:
    """Units that the holder may burn for a minute without asking again; `granted` 0 when the plan is spent."""
    asked = domain.LeaseRequest(known_id(body.organization_id), body.meter, body.want, body.holder)
    grant = await quota.lease(asked)
    return Lease.model_validate(
        {
            "lease_id": str(grant.lease_id),
            "granted": grant.granted,
            "used": grant.used,
            "limit": grant.allowance.limit,
            "expires_at": grant.expires_at,
            "resets_at": grant.resets_at,
            "plan": grant.allowance.plan,
            "lifetime_seconds": domain.LEASE.total_seconds(),
        }
    )


@router.post("/quota/usage")
async def record(body: UsageReport, quota: Part[Quota]) -> UsageRecorded:
    """Write usage into the ledger, exactly once per event, and take back leases."""
    recorded = await quota.record(_reports(body))
    return UsageRecorded(recorded=recorded.recorded, duplicates=recorded.duplicates)


@router.post("/quota/reservations", status_code=201)
async def reserve(body: ReservationRequest, quota: Part[Quota]) -> Reservation:
    """Keep a unit for a task; 429 `quota_exceeded` when the plan is spent."""
    kept = await quota.reserve(known_id(body.organization_id), body.meter, body.event_id)
    return Reservation(reservation_id=str(kept.id), used=kept.used, limit=kept.limit, resets_at=kept.resets_at)


@router.post("/quota/reservations/{event_id}/commit")
async def commit(event_id: str, body: ReservationSettlement, quota: Part[Quota]) -> ReservationSettlement:
    """Charge a reserved unit."""
    await quota.settle(known_id(body.organization_id), event_id, "committed")
    return body


@router.post("/quota/reservations/{event_id}/refund")
async def refund(event_id: str, body: ReservationSettlement, quota: Part[Quota]) -> ReservationSettlement:
    """Give a reserved unit back."""
    await quota.settle(known_id(body.organization_id), event_id, "refunded")
    return body


@router.get("/revocations")
async def get_revocations(revocations: Part[RevocationList]) -> Revocations:
    """Everything that must be refused at this moment."""
    as_of, refused = await revocations.current()
    by_kind: dict[str, list[Revocation]] = defaultdict(list)
    for one in refused:
        by_kind[one.kind].append(one)
    return Revocations(
        as_of=as_of,
        jtis=[RevokedUntil(id=one.id, expires_at=one.expires_at) for one in by_kind["token"]],
        sessions=[RevokedUntil(id=one.id, expires_at=one.expires_at) for one in by_kind["session"]],
        users=[RevokedBefore(id=one.id, not_before=one.not_before) for one in by_kind["user"]],
        organizations=[RevokedBefore(id=one.id, not_before=one.not_before) for one in by_kind["organization"]],
    )


@router.get("/organizations/{organization_id}")
async def get_organization(organization_id: str, accounts: Part[Accounts]) -> OrganizationProfile:
    """What neighbours may know of an organization."""
    found = await accounts.get_organization(known_id(organization_id))
    return OrganizationProfile.model_validate(
        {"id": str(found.id), "name": found.name, "plan": found.plan, "sample": found.sample}
    )


def _reports(body: UsageReport) -> dict[UUID, domain.Report]:
    events: dict[UUID, list[domain.UsageEvent]] = defaultdict(list)
    returns: dict[UUID, list[domain.LeaseReturn]] = defaultdict(list)
    for event in body.events:
        lease_id = parse_id(event.lease_id) if event.lease_id else None
        usage = domain.UsageEvent(event.event_id, event.meter, lease_id, event.occurred_at)
        events[_organization(event.organization_id)].append(usage)
    for one in body.returns:
        lease_id = parse_id(one.lease_id)
        if lease_id is not None:
            returns[_organization(one.organization_id)].append(domain.LeaseReturn(lease_id, one.unburned))
    return {id_: domain.Report(events[id_], returns[id_]) for id_ in events.keys() | returns.keys()}


def _organization(text: str) -> UUID:
    """The id in a report; what cannot be one is recorded nowhere, like an unknown one, and holds nothing else back."""
    return parse_id(text) or UUID(int=0)
