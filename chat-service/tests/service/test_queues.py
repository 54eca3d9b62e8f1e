"""Where things wait or are kept for convenience: the real ones and their twins keep the same promises."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from chat_service.domain.answers import CacheKey, Question
from chat_service.domain.leases import Grant
from chat_service.domain.quota import UsageEvent, UsageJournal
from chat_service.domain.turns import Feedback, Owner, Turn
from chat_service.store.answer_cache import RedisAnswers
from chat_service.store.deferred import AT_ONCE, DiskQueue, Queue, RedisQueue
from chat_service.store.journal import Journal, Slot
from chat_service.store.recent import KEPT_TURNS, RecentTurns
from chat_service.store.usage_journal import DiskUsage
from chat_service.testing import (
    InMemoryAccounts,
    InMemoryAnswers,
    InMemoryKnowledge,
    InMemoryQueue,
    InMemoryRecent,
    InMemoryUsage,
    a_turn,
)
from shared.errors import CapabilityUnavailable
from shared.ids import new_id
from shared.redis import RedisStore

OWNER = Owner("organization", "user")
REAL = pytest.mark.engines


@pytest_asyncio.fixture
async def redis(redis_data_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_data_url, capability="conversations")
    await store.run(lambda redis: redis.flushdb())
    yield store
    await store.close()


@pytest.fixture(params=["memory", "disk", pytest.param("redis", marks=REAL)])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Queue:
    if request.param == "memory":
        return InMemoryQueue()
    if request.param == "disk":
        return DiskQueue(Journal(Slot(tmp_path), "deferred"))
    return RedisQueue(request.getfixturevalue("redis"))


@pytest.fixture(params=["memory", pytest.param("redis", marks=REAL)])
def recent(request: pytest.FixtureRequest) -> InMemoryRecent | RecentTurns:
    return InMemoryRecent() if request.param == "memory" else RecentTurns(request.getfixturevalue("redis"))


@pytest.fixture(params=["memory", pytest.param("redis", marks=REAL)])
def answers(request: pytest.FixtureRequest) -> InMemoryAnswers | RedisAnswers:
    return InMemoryAnswers() if request.param == "memory" else RedisAnswers(request.getfixturevalue("redis"))


@pytest.fixture(params=["memory", "disk"])
def usage(request: pytest.FixtureRequest, tmp_path: Path) -> UsageJournal:
    return InMemoryUsage() if request.param == "memory" else DiskUsage(Journal(Slot(tmp_path), "usage"))


async def drained(queue: Queue) -> list[Turn | Feedback]:
    written: list[Turn | Feedback] = []

    async def write(record: Turn | Feedback) -> None:
        written.append(record)

    while await queue.drain(write):
        pass
    return written


async def test_what_waits_comes_out_whole_and_in_order(queue: Queue) -> None:
    turns: list[Turn | Feedback] = [a_turn(OWNER, question=f"{number}\n\u2028?") for number in range(3)]
    rating = Feedback(OWNER, "session", new_id(), "up", "because", timedelta(days=90), 7)
    for record in [*turns, rating]:
        await queue.put(record)

    assert await drained(queue) == [*turns, rating]
    assert await drained(queue) == []


async def test_what_could_not_be_written_waits_on(queue: Queue) -> None:
    turns = [a_turn(OWNER, question=f"{number}?") for number in range(3)]
    for turn in turns:
        await queue.put(turn)

    async def refuse(record: Turn | Feedback) -> None:
        if record == turns[1]:
            raise CapabilityUnavailable(capability="conversations")

    with pytest.raises(CapabilityUnavailable):
        await queue.drain(refuse)

    left = await drained(queue)
    assert left[-2:] == turns[1:]


async def test_a_long_queue_is_drained_in_portions(queue: Queue) -> None:
    for number in range(AT_ONCE + 1):
        await queue.put(a_turn(OWNER, question=f"{number}?"))

    async def write(_: Turn | Feedback) -> None:
        pass

    assert [await queue.drain(write) for _ in range(3)] == [AT_ONCE, 1, 0]


async def test_the_last_turns_of_a_session_are_known_newest_first(recent: InMemoryRecent | RecentTurns) -> None:
    first = datetime.now(UTC)
    for number in range(KEPT_TURNS + 5):
        await recent.add_now(a_turn(OWNER, question=f"{number}?", made=first + timedelta(milliseconds=number)))
    await recent.add_now(a_turn(OWNER, "other"))

    known = await recent.turns(OWNER, "session")

    assert [turn.question for turn in known] == [f"{number}?" for number in reversed(range(5, KEPT_TURNS + 5))]
    assert await recent.turns(Owner("organization", "another"), "session") == []


async def test_a_forgotten_session_is_unknown(recent: InMemoryRecent | RecentTurns) -> None:
    await recent.add_now(a_turn(OWNER))
    recent.add_soon(a_turn(OWNER, question="soon?"))

    await recent.forget(OWNER, "session")
    if isinstance(recent, RecentTurns):
        await recent.add_waiting()

    assert await recent.turns(OWNER, "session") == []


async def test_a_shared_answer_is_found_by_everything_it_depends_on(answers: InMemoryAnswers | RedisAnswers) -> None:
    knowledge = InMemoryKnowledge()
    knowledge.publish("organization", "What?", "That.")
    answer, _ = await knowledge.ask(Question("organization", "What?"))
    key = CacheKey("organization", 1, "scorer", None, (), "what")
    others = [
        CacheKey("another", 1, "scorer", None, (), "what"),
        CacheKey("organization", 2, "scorer", None, (), "what"),
        CacheKey("organization", 1, "other", None, (), "what"),
        CacheKey("organization", 1, "scorer", "en", (), "what"),
        CacheKey("organization", 1, "scorer", None, ("a",), "what"),
        CacheKey("organization", 1, "scorer", None, (), "that"),
    ]

    await answers.put(key, answer, timedelta(minutes=1))

    assert await answers.get(key) == answer
    assert [await answers.get(other) for other in others] == [None] * len(others)


def test_usage_comes_back_until_it_is_settled(usage: UsageJournal) -> None:
    events = [UsageEvent("organization", str(number), "lease", datetime.now(UTC)) for number in range(3)]
    for event in events:
        usage.append(event)

    first, again = usage.next_batch(2), usage.next_batch(2)
    usage.settled()
    rest = usage.next_batch(2)
    usage.settled()

    assert first is not None
    assert again is not None
    assert rest is not None
    assert list(first.events) == list(again.events) == events[:2]
    assert (list(rest.events), rest.own) == (events[2:], True)
    assert usage.next_batch(2) is None


async def test_units_that_are_out_are_not_granted_twice() -> None:
    accounts = InMemoryAccounts(limit=3)
    grants: list[Grant] = [await accounts.lease("organization", 1) for _ in range(4)]

    assert [grant.granted for grant in grants] == [1, 1, 1, 0]
    assert not grants[-1].is_refusal
