"""What happens to a message, over twins: answered, kept, charged and counted, whatever is away."""

import asyncio
from uuid import UUID

import pytest

from chat_service.domain import message_ids
from chat_service.domain.turns import Owner
from chat_service.testing import Conversing
from shared.errors import CapabilityUnavailable, NotFound, QuotaExceeded
from shared.principal import Principal
from shared.testing import somebody

REDIS = "What is Redis?"


@pytest.fixture
def who() -> Principal:
    return somebody()


def conversing(who: Principal, limit: int | None = 1_000) -> Conversing:
    made = Conversing(limit)
    made.knowledge.publish(who.organization_id, REDIS, "A store.")
    return made


@pytest.fixture
def talk(who: Principal) -> Conversing:
    return conversing(who)


async def test_a_question_is_answered_kept_charged_and_counted(talk: Conversing, who: Principal) -> None:
    reply = await talk.send(who, REDIS)
    await talk.quota.settle()

    assert (reply.answer.reply, reply.persisted, reply.cache, reply.degraded) == ("A store.", "durable", "none", ())
    assert (reply.usage.used, reply.usage.remaining) == (1, 999)
    assert await talk.questions(who) == [REDIS]
    assert talk.accounts.ledger[who.organization_id] == {str(reply.message_id)}
    assert (await talk.analytics.summary(who.organization_id)).outcomes["answered"] == 1


async def test_a_spent_quota_leaves_no_trace(who: Principal) -> None:
    talk = conversing(who, limit=0)

    with pytest.raises(QuotaExceeded) as refusal:
        await talk.send(who, REDIS)

    assert refusal.value.extra["resets_at"]
    assert await talk.questions(who) == []
    assert talk.knowledge.asked == []
    assert talk.usage.events == []
    assert (await talk.analytics.summary(who.organization_id)).messages == 0


async def test_the_last_unit_is_served_and_the_next_message_refused(who: Principal) -> None:
    talk = conversing(who, limit=1)
    await talk.send(who, REDIS)
    await talk.quota.settle()

    with pytest.raises(QuotaExceeded):
        await talk.send(who, REDIS)

    assert await talk.questions(who) == [REDIS]


async def test_usage_equals_the_answers_and_nothing_else_is_charged(talk: Conversing, who: Principal) -> None:
    answered = [await talk.send(who, REDIS) for _ in range(3)]
    unknown = [await talk.send(who, f"Unknown {number}?") for number in range(4)]
    await talk.quota.close()

    assert [reply.answer.outcome for reply in unknown] == ["no_answer"] * 4
    assert talk.accounts.ledger[who.organization_id] == {str(reply.message_id) for reply in answered}
    assert talk.accounts.leased(who.organization_id) == 0


async def test_without_cql_the_reply_is_deferred_and_written_when_it_is_back(talk: Conversing, who: Principal) -> None:
    talk.stored.is_away = True

    reply = await talk.send(who, REDIS)
    seen = await talk.conversation.read_history(who, "session", 10, None)
    talk.stored.is_away = False
    written = await talk.turns.drain()

    assert (reply.persisted, reply.degraded, reply.usage.used) == ("deferred", ("conversations",), 1)
    assert [m.text for m in seen.messages] == ["A store.", REDIS]
    assert seen.degraded == ("conversations",)
    assert written == 1
    assert await talk.questions(who) == [REDIS]


async def test_without_cql_and_its_recent_turns_a_history_is_refused(talk: Conversing, who: Principal) -> None:
    talk.stored.is_away = True

    with pytest.raises(CapabilityUnavailable):
        await talk.conversation.read_history(who, "session", 10, None)


async def test_a_turn_that_was_deferred_does_not_outlive_its_session(talk: Conversing, who: Principal) -> None:
    await talk.send(who, REDIS)
    talk.stored.is_away = True
    await talk.send(who, "Deferred?")
    talk.stored.is_away = False

    await talk.conversation.delete_session(who, "session")
    await talk.turns.drain()

    assert await talk.questions(who) == []
    assert (await talk.conversation.list_sessions(who, 10, None)).sessions == []
    assert talk.deletions.announced == [(Owner(who.organization_id, who.user_id), "session")]


async def test_the_same_message_sent_again_is_one_turn_and_one_charge(talk: Conversing, who: Principal) -> None:
    message_id = message_ids.new_message_id()

    replies = [await talk.send(who, REDIS, message_id=message_id) for _ in range(2)]
    await talk.quota.settle()

    assert {reply.message_id for reply in replies} == {message_id}
    assert await talk.questions(who) == [REDIS]
    assert talk.accounts.ledger[who.organization_id] == {str(message_id)}


async def test_the_second_answer_comes_from_the_cache_and_is_charged_too(talk: Conversing, who: Principal) -> None:
    replies = [await talk.send(who, wording) for wording in (REDIS, " what is redis")]

    assert [reply.cache for reply in replies] == ["none", "process"]
    assert [reply.usage.used for reply in replies] == [1, 2]
    assert len(talk.knowledge.asked) == 1


async def test_without_knowledge_what_is_cached_is_answered_and_the_rest_refused_and_not_charged(
    talk: Conversing, who: Principal
) -> None:
    await talk.send(who, REDIS)
    talk.knowledge.is_away = True

    cached = await talk.send(who, REDIS)
    with pytest.raises(CapabilityUnavailable) as refusal:
        await talk.send(who, "New?")
    await talk.quota.settle()

    assert (cached.answer.reply, cached.cache) == ("A store.", "process")
    assert refusal.value.capability == "knowledge"
    assert await talk.questions(who) == [REDIS, REDIS]
    assert len(talk.accounts.ledger[who.organization_id]) == 2
    assert talk.quota.usage(who.organization_id).used == 2


async def test_what_knowledge_misses_is_named_in_the_reply(talk: Conversing, who: Principal) -> None:
    talk.knowledge.degraded = ("knowledge",)

    assert (await talk.send(who, REDIS)).degraded == ("knowledge",)


async def test_without_accounts_the_lease_is_burned_and_a_stranger_refused(talk: Conversing, who: Principal) -> None:
    await talk.send(who, REDIS)
    talk.accounts.is_away = True
    talk.clock.now += 120

    reply = await talk.send(who, REDIS)
    with pytest.raises(CapabilityUnavailable) as refusal:
        await talk.send(somebody(), REDIS)

    assert reply.usage.used == 2
    assert refusal.value.capability == "accounts"


async def test_a_cancelled_message_gives_its_unit_back(talk: Conversing, who: Principal) -> None:
    await talk.send(who, REDIS)
    sending = asyncio.create_task(talk.send(who, "Slow?"))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await talk.quota.close()

    assert len(talk.accounts.ledger[who.organization_id]) == 1
    assert talk.accounts.leased(who.organization_id) == 0


async def test_a_foreign_session_is_as_absent_as_none(talk: Conversing, who: Principal) -> None:
    reply = await talk.send(who, REDIS)
    foreign = somebody(organization_id=who.organization_id)

    with pytest.raises(NotFound):
        await talk.conversation.read_history(foreign, "session", 10, None)
    with pytest.raises(NotFound):
        await talk.conversation.delete_session(foreign, "session")
    with pytest.raises(NotFound):
        await talk.conversation.rate(foreign, "session", reply.message_id, "up", None)
    assert (await talk.conversation.list_sessions(foreign, 10, None)).sessions == []
    assert await talk.questions(who) == [REDIS]


async def test_two_users_may_use_the_same_session_id(talk: Conversing, who: Principal) -> None:
    other = somebody(organization_id=who.organization_id)
    await talk.send(who, REDIS)
    await talk.send(other, "Mine?")

    assert await talk.questions(who) == [REDIS]
    assert await talk.questions(other) == ["Mine?"]


async def test_a_message_without_a_session_begins_one(talk: Conversing, who: Principal) -> None:
    first, second = await talk.send(who, REDIS, None), await talk.send(who, REDIS, None)

    assert first.session_id != second.session_id
    assert await talk.questions(who, first.session_id) == [REDIS]


async def test_a_rating_replaces_the_one_before_and_counts_once(talk: Conversing, who: Principal) -> None:
    reply = await talk.send(who, REDIS)

    for rating in ("up", "down", "down"):
        await talk.conversation.rate(who, "session", reply.message_id, rating, "because")
    summary = await talk.analytics.summary(who.organization_id)

    assert (summary.up, summary.down) == (0, 1)


async def test_only_an_answer_can_be_rated(talk: Conversing, who: Principal) -> None:
    reply = await talk.send(who, REDIS)
    wrong: list[UUID] = [message_ids.question_id(reply.message_id), message_ids.new_message_id()]

    for message_id in wrong:
        with pytest.raises(NotFound):
            await talk.conversation.rate(who, "session", message_id, "up", None)


async def test_ratings_that_were_deferred_count_once_as_the_last(talk: Conversing, who: Principal) -> None:
    reply = await talk.send(who, REDIS)
    talk.stored.is_away = True
    said = [await talk.conversation.rate(who, "session", reply.message_id, each, None) for each in ("up", "down")]
    before = await talk.analytics.summary(who.organization_id)
    talk.stored.is_away = False

    await talk.turns.drain()
    await talk.conversation.rate(who, "session", reply.message_id, "down", None)
    after = await talk.analytics.summary(who.organization_id)

    assert [rated.persisted for rated in said] == ["deferred", "deferred"]
    assert (before.up, before.down) == (0, 0)
    assert (after.up, after.down) == (0, 1)
