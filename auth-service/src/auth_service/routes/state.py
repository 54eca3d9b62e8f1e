"""What the composition root made, as dependencies of the routes."""

from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Header, Request

from auth_service.domain.accounts import Accounts
from auth_service.domain.audit import AuditStore
from auth_service.domain.idempotency import Repeatable
from auth_service.domain.keys import KeyRing
from auth_service.domain.quota import Quota
from auth_service.domain.sessions import RevocationList, Sessions
from shared.cursors import Cursors
from shared.errors import NotFound
from shared.ids import parse_id


def _accounts(request: Request) -> Accounts:
    return cast("Accounts", request.app.state.accounts)


def _sessions(request: Request) -> Sessions:
    return cast("Sessions", request.app.state.sessions)


def _keys(request: Request) -> KeyRing:
    return cast("KeyRing", request.app.state.keys)


def _quota(request: Request) -> Quota:
    return cast("Quota", request.app.state.quota)


def _audit(request: Request) -> AuditStore:
    return cast("AuditStore", request.app.state.audit)


def _revocations(request: Request) -> RevocationList:
    return cast("RevocationList", request.app.state.revocations)


def _repeatable(request: Request) -> Repeatable:
    return cast("Repeatable", request.app.state.repeatable)


def _cursors(request: Request) -> Cursors:
    return cast("Cursors", request.app.state.cursors)


TheAccounts = Annotated[Accounts, Depends(_accounts)]
TheSessions = Annotated[Sessions, Depends(_sessions)]
TheKeys = Annotated[KeyRing, Depends(_keys)]
TheQuota = Annotated[Quota, Depends(_quota)]
TheAudit = Annotated[AuditStore, Depends(_audit)]
TheRevocations = Annotated[RevocationList, Depends(_revocations)]
TheRepeatable = Annotated[Repeatable, Depends(_repeatable)]
TheCursors = Annotated[Cursors, Depends(_cursors)]

ClientAddress = Annotated[str, Header(alias="X-Client-Address", include_in_schema=False)]
"""The address that the gateway saw; only the gateway sets it."""


IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
"""Chosen by the client: a request repeated with it within 24 hours is answered with the first reply."""


def known_id(text: str) -> UUID:
    """An id as text; one that cannot be ours is as absent as an unknown one."""
    parsed = parse_id(text)
    if parsed is None:
        raise NotFound
    return parsed
