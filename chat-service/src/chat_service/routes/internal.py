"""What neighbours may read of an organization's conversations."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime

from chat_service.domain import message_ids
from chat_service.domain.exports import ExportPage, Exports, OwnedTurn, Place
from shared.callers import internal_caller
from shared.contracts import chat
from shared.cursors import Cursors
from shared.parts import Part

router = APIRouter(include_in_schema=False, dependencies=[Depends(internal_caller)])

PAGE = 200
"""Few enough that messages which arrive meanwhile hardly wait."""
SINCE = timedelta(days=90)
"""How far back an export goes that does not say."""


@router.get("/internal/conversations/export", response_model=chat.TurnPage)
async def export(
    exports: Part[Exports],
    cursors: Part[Cursors],
    organization_id: str,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> Response:
    """Turns of [since, until), newest day first; a page may be short, or empty, before the last one."""
    page, next_cursor = await _page(exports, cursors, organization_id, since, until, cursor, limit)
    return _reply(page.turns, next_cursor)


@router.get("/internal/unanswered", response_model=chat.TurnPage)
async def unanswered(
    exports: Part[Exports],
    cursors: Part[Cursors],
    organization_id: str,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    cursor: str | None = None,
) -> Response:
    """The turns that were not answered; a page may be short, or empty, before the last one."""
    page, next_cursor = await _page(exports, cursors, organization_id, since, until, cursor, PAGE)
    return _reply([each for each in page.turns if each.turn.outcome != "answered"], next_cursor)


async def _page(
    exports: Exports,
    cursors: Cursors,
    organization_id: str,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
    limit: int,
) -> tuple[ExportPage, str | None]:
    scope = f"export:{organization_id}"
    place = _place(cursors.read(scope, cursor)) if cursor else None
    now = datetime.now(UTC)
    page = await exports.page(organization_id, since or now - SINCE, until or now + timedelta(days=1), place, limit)
    following = page.next_place
    return page, cursors.make(scope, asdict(following)) if following else None


def _reply(turns: list[OwnedTurn], next_cursor: str | None) -> Response:
    """The page as it is: FastAPI would validate every turn once more."""
    page = chat.TurnPage(turns=[_told(each) for each in turns], next_cursor=next_cursor)
    return Response(page.model_dump_json(), media_type="application/json")


def _place(position: dict[str, Any]) -> Place:
    before = position["before"]
    return Place(**{**position, "before": UUID(before) if before else None})


def _told(each: OwnedTurn) -> chat.Turn:
    turn = each.turn
    return chat.Turn(
        message_id=str(turn.message_id),
        session_id=each.session_id,
        user_id=each.owner.user_id,
        question=turn.question,
        outcome=turn.outcome,
        confidence=turn.confidence,
        article_id=turn.article_id,
        rating=turn.rating,
        created_at=message_ids.created_at(turn.message_id),
    )
