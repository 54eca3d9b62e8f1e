"""The audit log, for those who answer for the organization."""

from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel

from auth_service.domain.audit import AuditEntry, AuditStore
from auth_service.routes.parameters import known_id
from shared.bodies import StrictRoute
from shared.callers import require_role
from shared.cursors import Cursors
from shared.fields import Cursor, Limit
from shared.parts import Part
from shared.principal import Principal
from shared.problems import responses

router = APIRouter(tags=["audit"], route_class=StrictRoute)


class AuditEntryOut(BaseModel):
    """Something that happened. `hash` seals it and all before it: note it elsewhere to prove that nothing changed."""

    id: str
    occurred_at: datetime
    actor_id: str | None
    action: str
    subject: str | None
    facts: dict[str, Any]
    hash: str


class AuditOut(BaseModel):
    """A page, newest first."""

    entries: list[AuditEntryOut]
    next_cursor: str | None


@router.get("/audit", responses=responses(401, 403, 422, 503))
async def list_audit(
    principal: Annotated[Principal, Depends(require_role("admin"))],
    audit: Part[AuditStore],
    cursors: Part[Cursors],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AuditOut:
    """What happened in the organization, newest first; for owners and admins."""
    scope = f"audit:{principal.organization_id}:{principal.user_id}"
    before = None if cursor is None else int(cursors.read(scope, cursor))
    entries = await audit.page(known_id(principal.organization_id), before, limit + 1)
    page = entries[:limit]
    more = len(entries) > limit
    return AuditOut(
        entries=[_entry(entry) for entry in page],
        next_cursor=cursors.make(scope, page[-1].sequence) if more else None,
    )


def _entry(entry: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(
        id=str(entry.sequence),
        occurred_at=entry.occurred_at,
        actor_id=str(entry.actor_id) if entry.actor_id else None,
        action=entry.action,
        subject=entry.subject,
        facts=orjson.loads(entry.facts),
        hash=entry.hash.hex(),
    )
