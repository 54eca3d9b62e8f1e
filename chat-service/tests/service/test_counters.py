"""Live counters in redis-data and their twin: each rating of a message counts once, as the last that was given."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from chat_service.domain import message_ids
from chat_service.domain.analytics import Analytics, Counts
from chat_service.domain.turns import LastRating, Rating
from chat_service.store.counters import RedisCounters
from chat_service.testing import InMemoryCounters, Running
from shared.ids import new_id
from shared.principal import Principal
from shared.redis import RedisStore
from shared.testing import eventually, identity_headers

Counters = InMemoryCounters | RedisCounters


@pytest_asyncio.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.engines)])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield InMemoryCounters()
        return
    redis = RedisStore(request.getfixturevalue("redis_data_url"), capability="conversations")
    yield RedisCounters(redis)
    await redis.close()


@pytest.fixture
def organization_id() -> str:
    return str(new_id())


async def feedback(counters: Counters, organization_id: str) -> tuple[int, int]:
    summary = await Analytics(counters).summary(organization_id)
    return summary.up, summary.down


def one(message_id: UUID, version: int, rating: Rating) -> Counts:
    return Counts(ratings={message_id: LastRating(version, rating)})


async def test_counts_add_up(counters: Counters, organization_id: str) -> None:
    for _ in range(2):
        await counters.add({organization_id: Counts(Counter(messages=2), Counter({"What?": 2}))})

    summary = await Analytics(counters).summary(organization_id)

    assert summary.messages == 4
    assert [(each.question, each.count) for each in summary.popular] == [("What?", 4)]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (["1 up"], (1, 0)),
        (["1 up", "1 up", "1 up"], (1, 0)),
        (["1 up", "2 down"], (0, 1)),
        (["2 down", "1 up"], (0, 1)),
        (["1 up", "2 down", "3 up", "2 down"], (1, 0)),
        (["1 down", "1 up", "1 down"], (1, 0)),
    ],
)
async def test_a_rating_counts_once_whatever_is_told_again_or_late(
    counters: Counters, organization_id: str, told: list[str], expected: tuple[int, int]
) -> None:
    message_id, other = message_ids.new_message_id(), message_ids.new_message_id()
    await counters.add({organization_id: one(other, 1, "up")})

    for each in told:
        version, rating = each.split()
        await counters.add({organization_id: one(message_id, int(version), "up" if rating == "up" else "down")})

    assert await feedback(counters, organization_id) == (expected[0] + 1, expected[1])
    assert await feedback(counters, str(new_id())) == (0, 0)


async def test_replicas_that_tell_at_the_same_time_count_one(counters: Counters, organization_id: str) -> None:
    message_id = message_ids.new_message_id()
    replicas = [Analytics(counters) for _ in range(4)]
    for version, analytics in enumerate(replicas):
        analytics.count_rating(organization_id, message_id, LastRating(version, "up" if version % 2 else "down"))

    await asyncio.gather(*(analytics.add_up() for analytics in replicas))

    assert await feedback(counters, organization_id) == (1, 0)


async def rate(chat: Running, who: Principal, message_id: str, rating: str) -> None:
    reply = await chat.client.put(
        f"/chat/sessions/s/messages/{message_id}/feedback",
        json={"rating": rating},
        headers=identity_headers("chat-service", who),
    )
    assert reply.status_code == 200, reply.text


@pytest.mark.engines
async def test_parallel_and_repeated_ratings_count_once_as_the_history_has_it(chat: Running) -> None:
    who = chat.newcomer()
    message_id = (await chat.send(who, "What is Redis?", "s")).json()["message_id"]

    await asyncio.gather(*(rate(chat, who, message_id, rating) for rating in ["up", "down"] * 6))
    shown = (await chat.get(who, "/chat/history/s")).json()["messages"][-1]["rating"]
    counted = (await chat.get(who, "/analytics/summary")).json()["feedback"]

    assert counted == {"up": int(shown == "up"), "down": int(shown == "down")}


@pytest.mark.engines
@pytest.mark.slow
async def test_ratings_that_were_deferred_are_counted_once_as_the_last(chat: Running) -> None:
    who = chat.newcomer()
    message_id = (await chat.send(who, "What is Redis?", "s")).json()["message_id"]
    await rate(chat, who, message_id, "up")
    await chat.cql.close()
    await eventually(lambda: _is_away(chat))

    for rating in ("down", "up", "down"):
        await rate(chat, who, message_id, rating)
    assert (await chat.get(who, "/analytics/summary")).json()["feedback"] == {"up": 1, "down": 0}
    await chat.cql.open()

    async def is_counted() -> bool:
        return bool((await chat.get(who, "/analytics/summary")).json()["feedback"] == {"up": 0, "down": 1})

    await eventually(is_counted, within=20)
    assert (await chat.get(who, "/chat/history/s")).json()["messages"][-1]["rating"] == "down"


async def _is_away(chat: Running) -> bool:
    health = await chat.client.get("/internal/health", headers=identity_headers("chat-service", None))
    return bool(health.json()["databases"]["cql"] == "unavailable")
