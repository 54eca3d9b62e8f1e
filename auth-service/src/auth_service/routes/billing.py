"""Plans, and what of one's plan is used."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from auth_service.domain.quota import MeterUsage, Quota
from auth_service.routes.parameters import known_id
from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal
from shared.contracts.auth import Plan
from shared.parts import Part
from shared.problems import responses

router = APIRouter(prefix="/billing", tags=["billing"], route_class=StrictRoute)


class PlanOut(BaseModel):
    """A plan and what it gives a calendar month; null is unlimited."""

    id: Plan
    name: str
    messages: int | None
    tasks: int | None


class PlansOut(BaseModel):
    """What is on offer, smallest first."""

    plans: list[PlanOut]


class PeriodOut(BaseModel):
    """A calendar month in UTC."""

    start: datetime
    end: datetime


class MeterOut(BaseModel):
    """Units used and left; null is unlimited."""

    used: int
    limit: int | None
    remaining: int | None


class UsageOut(BaseModel):
    """What of the plan is used this month."""

    plan: Plan
    period: PeriodOut
    messages: MeterOut
    tasks: MeterOut


@router.get("/plans", responses=responses(503))
async def list_plans(quota: Part[Quota]) -> PlansOut:
    """What is on offer."""
    return PlansOut.model_validate({"plans": await quota.plans()}, from_attributes=True)


@router.get("/usage", responses=responses(401, 503))
async def get_usage(principal: CurrentPrincipal, quota: Part[Quota]) -> UsageOut:
    """What of the organization's plan is used this month; a task in progress counts."""
    usage = await quota.usage(known_id(principal.organization_id))
    return UsageOut.model_validate(
        {
            "plan": usage.plan,
            "period": {"start": usage.period.start, "end": usage.period.end},
            "messages": _meter(usage.messages),
            "tasks": _meter(usage.tasks),
        }
    )


def _meter(meter: MeterUsage) -> MeterOut:
    return MeterOut(used=meter.used, limit=meter.limit, remaining=meter.remaining)
