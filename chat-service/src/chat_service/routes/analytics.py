"""Live counters of an organization."""

from datetime import UTC, datetime

from fastapi import APIRouter

from chat_service.domain.analytics import Analytics
from chat_service.routes.bodies import HitRate, Latency, PopularOut, Ratings, SummaryOut
from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal
from shared.parts import Part
from shared.problems import responses

router = APIRouter(tags=["analytics"], route_class=StrictRoute)


@router.get("/analytics/summary", responses=responses(401, 503))
async def read_summary(principal: CurrentPrincipal, analytics: Part[Analytics]) -> SummaryOut:
    """What the organization asked, how it was answered and how fast."""
    summary = await analytics.summary(principal.organization_id)
    return SummaryOut(
        messages=summary.messages,
        outcomes=summary.outcomes,
        cache=HitRate(hit_rate=summary.hit_rate),
        popular=[PopularOut(question=each.question, count=each.count) for each in summary.popular],
        feedback=Ratings(up=summary.up, down=summary.down),
        latency_ms=Latency(p50=summary.p50, p95=summary.p95),
        as_of=datetime.now(UTC),
    )
