"""Two replicas whose clocks differ write to the same conversations: what was done last holds, in CQL and its twin."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from chat_service.domain.conversation import Rated
from chat_service.domain.turns import Feedback, Owner, Rating, Turn
from chat_service.store.conversations import CqlConversations
from chat_service.testing import InMemoryTurns, a_turn
from shared.clock import HybridClock
from shared.cql import Cql
from shared.ids import new_id

Turns = InMemoryTurns | CqlConversations

SECONDS = pytest.mark.parametrize("seconds", [-90, -10, -2, 2, 10, 90])
STORES = pytest.mark.parametrize("store", ["memory", pytest.param("cql", marks=pytest.mark.engines)])


def a_clock(seconds: int) -> HybridClock:
    """A clock that is wrong and that no engine has corrected."""
    return HybridClock(wall=lambda: time.time_ns() + seconds * 1_000_000_000)


@dataclass
class Replicas:
    """`one` has a right clock, `other` a wrong one; both speak of the same session."""

    one: Turns
    other: Turns
    owner: Owner
    clocks: tuple[HybridClock, HybridClock]

    def turn(self, clock: HybridClock, question: str) -> Turn:
        """A turn as the replica with that clock makes it."""
        return replace(a_turn(self.owner, question=question), written_at=clock.now())

    async def questions(self) -> list[str]:
        """What is in the session."""
        page = await self.one.history(self.owner, "session", 20, None)
        return [] if page is None else [m.text for m in page.messages if m.role == "user"]

    async def listed(self) -> list[str]:
        """The sessions of the owner."""
        return [session.id for session in (await self.one.sessions(self.owner, 10, None)).sessions]


Make = Callable[[int], Replicas]


@pytest.fixture
def make(request: pytest.FixtureRequest, store: str) -> Make:
    cql: Cql | None = request.getfixturevalue("cql") if store == "cql" else None

    def replicas(seconds: int) -> Replicas:
        clocks = (a_clock(0), a_clock(seconds))
        owner = Owner(str(new_id()), str(new_id()))
        if cql is not None:
            return Replicas(CqlConversations(cql, clocks[0]), CqlConversations(cql, clocks[1]), owner, clocks)
        twin = InMemoryTurns(clocks[0])
        return Replicas(twin, twin.replica(clocks[1]), owner, clocks)

    return replicas


def a_rating(turn: Turn, rating: Rating, written_at: int) -> Feedback:
    return Feedback(turn.owner, turn.session_id, turn.message_id, rating, None, timedelta(days=90), written_at)


async def rating_of(replicas: Replicas) -> Rating | None:
    page = await replicas.one.history(replicas.owner, "session", 10, None)
    assert page is not None
    return page.messages[0].rating


@STORES
@SECONDS
async def test_the_last_rating_wins(make: Make, seconds: int) -> None:
    replicas = make(seconds)
    right, wrong = replicas.clocks
    turn = replicas.turn(right, "What?")
    await replicas.one.append(turn)

    said: list[Awaitable[Rated | None]] = [
        replicas.one.rate(a_rating(turn, "up", right.now())),
        replicas.other.rate(a_rating(turn, "down", wrong.now())),
        replicas.one.rate(a_rating(turn, "up", right.now())),
    ]
    rated = [await each for each in said]

    assert await rating_of(replicas) == "up"
    versions = [each.last.version for each in rated if each and each.last]
    assert len(versions) == 3
    assert versions == sorted(set(versions))


@STORES
@SECONDS
async def test_a_deletion_removes_what_the_other_replica_wrote(make: Make, seconds: int) -> None:
    replicas = make(seconds)
    right, wrong = replicas.clocks
    turn = replicas.turn(wrong, "What?")
    await replicas.other.append(turn)
    await replicas.other.rate(a_rating(turn, "up", wrong.now()))

    assert await replicas.one.delete_session(replicas.owner, "session")

    assert await replicas.questions() == []
    assert await replicas.listed() == []
    assert not await replicas.one.delete_session(replicas.owner, "session")
    assert await replicas.one.rate(a_rating(turn, "up", right.now())) is None


@STORES
@SECONDS
async def test_after_a_deletion_by_one_a_session_begins_anew_at_the_other(make: Make, seconds: int) -> None:
    replicas = make(seconds)
    right, wrong = replicas.clocks
    await replicas.one.append(replicas.turn(right, "old"))
    await replicas.other.delete_session(replicas.owner, "session")
    if isinstance(replicas.one, CqlConversations):
        replicas.one.forget(replicas.owner, "session")  # as the announcement has it

    new = replicas.turn(right, "new")
    await replicas.one.append(new)
    await replicas.other.rate(a_rating(new, "down", wrong.now()))
    await replicas.one.rate(a_rating(new, "up", right.now()))

    assert await replicas.questions() == ["new"]
    assert await replicas.listed() == ["session"]
    assert await rating_of(replicas) == "up"


@STORES
@SECONDS
async def test_a_turn_that_waited_does_not_bring_a_deleted_session_back(make: Make, seconds: int) -> None:
    replicas = make(seconds)
    right, wrong = replicas.clocks
    for clock in (right, wrong):
        await clock.compare(true_time)  # both reached redis-data once
    await replicas.one.append(replicas.turn(right, "What?"))
    waiting = replicas.turn(wrong, "late")
    await replicas.one.delete_session(replicas.owner, "session")

    await replicas.other.append_late(waiting)

    assert await replicas.questions() == []
    assert await replicas.listed() == []


@STORES
@SECONDS
async def test_a_rating_that_waited_loses_against_a_later_one(make: Make, seconds: int) -> None:
    replicas = make(seconds)
    right, wrong = replicas.clocks
    for clock in (right, wrong):
        await clock.compare(true_time)
    turn = replicas.turn(right, "What?")
    await replicas.one.append(turn)
    waiting = [a_rating(turn, "down", wrong.now()), a_rating(turn, "up", wrong.now())]
    await replicas.one.rate(a_rating(turn, "down", right.now()))

    rated = [await replicas.other.rate_late(each) for each in waiting]

    assert await rating_of(replicas) == "down"
    assert [each.last.rating for each in rated if each and each.last] == ["down", "down"]


async def true_time() -> int:
    return time.time_ns() // 1000
