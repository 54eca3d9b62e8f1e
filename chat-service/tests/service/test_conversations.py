"""Conversations in CQL and their twin in memory keep the same promises."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from chat_service.domain.exports import Exports, Place
from chat_service.domain.turns import Feedback, Owner
from chat_service.store.conversations import CqlConversations
from chat_service.testing import InMemoryTurns, a_turn
from shared.clock import HybridClock
from shared.cql import Cql
from shared.ids import new_id


@pytest.fixture(params=["memory", pytest.param("cql", marks=pytest.mark.engines)])
def turns(request: pytest.FixtureRequest) -> InMemoryTurns | CqlConversations:
    if request.param == "memory":
        return InMemoryTurns()
    return CqlConversations(request.getfixturevalue("cql"), HybridClock())


Turns = InMemoryTurns | CqlConversations


@pytest.fixture
def owner() -> Owner:
    return Owner(str(new_id()), str(new_id()))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 13, 14, 15])
async def test_a_history_is_paged_back_in_time(turns: Turns, owner: Owner, limit: int) -> None:
    first = datetime.now(UTC) - timedelta(seconds=1)
    for number in range(7):
        made = first + timedelta(milliseconds=number)
        await turns.append(a_turn(owner, question=f"Question {number}?", made=made))

    pages = [await turns.history(owner, "session", limit, None)]
    while pages[-1] is not None and pages[-1].has_older:
        pages.append(await turns.history(owner, "session", limit, pages[-1].messages[-1].id))

    messages = [message for page in pages if page is not None for message in page.messages]
    assert [m.role for m in messages] == ["assistant", "user"] * 7
    assert [m.text for m in messages if m.role == "user"] == [f"Question {number}?" for number in reversed(range(7))]
    assert len(pages) == -(-14 // limit)


async def test_a_history_goes_on_over_buckets(turns: Turns, owner: Owner) -> None:
    now = datetime.now(UTC)
    for days in (25, 12, 0):
        await turns.append(a_turn(owner, question=f"{days} days ago", made=now - timedelta(days=days)))

    page = await turns.history(owner, "session", 10, None)

    assert page is not None
    assert [m.text for m in page.messages if m.role == "user"] == ["0 days ago", "12 days ago", "25 days ago"]


async def test_the_same_turn_again_is_the_same_turn(turns: Turns, owner: Owner) -> None:
    turn = a_turn(owner)
    for _ in range(3):
        await turns.append(turn)

    page = await turns.history(owner, "session", 10, None)

    assert page is not None
    assert len(page.messages) == 2


async def test_a_session_belongs_to_one_user(turns: Turns, owner: Owner) -> None:
    await turns.append(a_turn(owner))
    other = Owner(owner.organization_id, str(new_id()))

    assert await turns.history(other, "session", 10, None) is None
    assert (await turns.sessions(other, 10, None)).sessions == []


async def test_sessions_are_listed_newest_first(turns: Turns, owner: Owner) -> None:
    now = datetime.now(UTC)
    for number in range(3):
        await turns.append(a_turn(owner, f"session-{number}", made=now - timedelta(days=40 - number * 20)))

    first = await turns.sessions(owner, 2, None)
    second = await turns.sessions(owner, 2, first.sessions[-1].started)

    assert [s.id for s in first.sessions] == ["session-2", "session-1"]
    assert first.has_older
    assert [s.id for s in second.sessions] == ["session-0"]


async def test_a_deleted_session_is_gone_and_a_late_write_does_not_bring_it_back(turns: Turns, owner: Owner) -> None:
    late = a_turn(owner, question="late", made=datetime.now(UTC) - timedelta(seconds=5))
    await turns.append(a_turn(owner))

    assert await turns.delete_session(owner, "session")
    await turns.append_late(late)

    page = await turns.history(owner, "session", 10, None)
    assert page is None or page.messages == []
    assert (await turns.sessions(owner, 10, None)).sessions == []


async def test_after_a_deletion_a_session_begins_anew(turns: Turns, owner: Owner) -> None:
    await turns.append(a_turn(owner, question="old"))
    await turns.delete_session(owner, "session")
    await asyncio.sleep(0.002)
    await turns.append(a_turn(owner, question="new"))

    page = await turns.history(owner, "session", 10, None)

    assert page is not None
    assert [m.text for m in page.messages if m.role == "user"] == ["new"]
    assert not await turns.delete_session(owner, "unknown")


async def test_feedback_is_kept_beside_its_answer(turns: Turns, owner: Owner) -> None:
    turn = a_turn(owner)
    await turns.append(turn)

    def rating(value: str) -> Feedback:
        return Feedback(
            owner,
            "session",
            turn.message_id,
            value,  # type: ignore[arg-type] # one of the two ratings
            None,
            timedelta(days=90),
            time.time_ns() // 1000,
        )

    first, second = await turns.rate(rating("up")), await turns.rate(rating("down"))
    page = await turns.history(owner, "session", 10, None)

    assert first is not None
    assert second is not None
    assert first.last is not None
    assert second.last is not None
    assert (first.last.rating, second.last.rating) == ("up", "down")
    assert page is not None
    assert page.messages[0].rating == "down"


@pytest.mark.engines
async def test_an_export_gives_every_turn_once_newest_day_first(cql: Cql, owner: Owner) -> None:
    turns = CqlConversations(cql, HybridClock())
    now = datetime.now(UTC)
    for days in (30, 3, 0):
        for session in range(4):
            made = now - timedelta(days=days)
            await turns.append(a_turn(owner, f"session-{session}", question=f"{days}", made=made))
    exports = Exports(turns)
    place: Place | None = None
    found: list[str] = []

    while True:
        page = await exports.page(owner.organization_id, now - timedelta(days=10), now + timedelta(minutes=1), place, 3)
        found += [each.turn.question for each in page.turns]
        assert len(page.turns) <= 3
        place = page.next_place
        if place is None:
            break

    assert found == ["0"] * 4 + ["3"] * 4
