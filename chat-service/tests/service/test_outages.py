"""Each engine and neighbour taken away under a running chat-service: what the degradation table promises."""

import time
from pathlib import Path

import httpx2
import pytest

from chat_service.app import make_app
from chat_service.settings import ChatSettings
from chat_service.testing import Neighbours, Running, running_chat
from shared.principal import Principal
from shared.testing import eventually, running, somebody

pytestmark = [pytest.mark.engines, pytest.mark.slow]


async def asked(chat: Running, who: Principal, session: str, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        reply = await chat.send(who, f"Question {number}?", session)
        assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_without_cql_messages_are_deferred_and_written_afterwards(
    settings: ChatSettings, tmp_path: Path, how: str
) -> None:
    async with running_chat(settings, tmp_path) as chat:
        who = chat.newcomer()
        await asked(chat, who, "s", 2)
        first = (await chat.send(who, "What is Redis?", "s")).json()

        if how == "stopped":
            await chat.cql.close()
        else:
            chat.cql.freeze()
        await chat.knows("unavailable", "cql")
        slowest = 0.0
        for number in range(2, 8):
            began = time.perf_counter()
            reply = await chat.send(who, f"Question {number}?", "s")
            slowest = max(slowest, time.perf_counter() - began)
            assert reply.status_code == 200, reply.text
            assert reply.json()["persisted"] == "deferred"
            assert "conversations" in reply.headers["degraded"]

        async def recent() -> httpx2.Response:
            reply = await chat.get(who, "/chat/history/s")
            assert len(reply.json()["messages"]) == 18
            return reply

        during = await eventually(recent)
        rated = await chat.client.put(
            f"/chat/sessions/s/messages/{first['message_id']}/feedback",
            json={"rating": "up"},
            headers=dict(during.request.headers),
        )
        listed = await chat.get(who, "/chat/sessions")

        assert slowest < 2
        assert during.status_code == 200
        assert during.json()["degraded"] == ["conversations"]
        assert rated.json()["persisted"] == "deferred"
        assert listed.status_code == 503
        assert listed.json()["capability"] == "conversations"
        assert "retry-after" in listed.headers

        await chat.cql.open()
        expected = ["Question 0?", "Question 1?", "What is Redis?", *(f"Question {n}?" for n in range(2, 8))]

        async def is_written() -> bool:
            reply = await chat.get(who, "/chat/history/s?limit=100")
            texts = [m["text"] for m in reply.json().get("messages", []) if m["role"] == "user"]
            return "degraded" not in reply.json() and texts == expected

        await eventually(is_written, 20)

        async def is_rated() -> bool:
            reply = await chat.get(who, "/chat/history/s?limit=100")
            return any(m.get("rating") == "up" for m in reply.json()["messages"])

        await eventually(is_rated)
        assert (await chat.send(who, "And now?", "s")).json()["persisted"] == "durable"


async def test_without_cql_and_redis_data_messages_wait_on_disk_for_the_next_process(
    settings: ChatSettings, tmp_path: Path
) -> None:
    async with running_chat(settings, tmp_path) as chat:
        who = chat.newcomer()
        await chat.cql.close()
        await chat.data.close()
        await chat.knows("unavailable", "cql", "redis_data")
        for number in range(3):
            reply = await chat.send(who, f"Question {number}?", "disk")
            assert reply.json()["persisted"] == "deferred"

    async with running_chat(settings, tmp_path, chat.neighbours) as again:

        async def is_written() -> bool:
            return len(await again.texts(who, "disk")) == 6

        await eventually(is_written)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_without_redis_everything_is_served(settings: ChatSettings, tmp_path: Path, how: str) -> None:
    async with running_chat(settings, tmp_path) as chat:
        who = chat.newcomer()
        await chat.send(who, "What is Redis?", "s")
        for faucet in (chat.cache, chat.data):
            if how == "stopped":
                await faucet.close()
            else:
                faucet.freeze()
        await chat.knows("unavailable", "redis_cache", "redis_data")

        began = time.perf_counter()
        cached = await chat.send(who, "What is Redis?", "s")
        new = await chat.send(who, "Something else?", "s")
        keyed = [await chat.send(who, "Keyed?", "s", idempotency_key="k") for _ in range(2)]
        took = time.perf_counter() - began
        chat.neighbours.knowledge.publish(who.organization_id, "What is Redis?", "Something better.")

        async def is_better() -> bool:
            return (await chat.send(who, "What is Redis?", "t")).json()["reply"] == "Something better."

        await eventually(is_better, 2.5)

        assert took < 2
        assert (cached.status_code, cached.json()["cache"]) == (200, "process")
        assert cached.json()["degraded"] == ["cache"]
        assert new.status_code == 200
        assert keyed[0].json() == keyed[1].json()
        assert keyed[1].headers["idempotency-replayed"] == "true"
        assert len(await chat.texts(who, "s")) == 8


@pytest.mark.parametrize("redis_is", ["there", "away"])
async def test_a_keyed_message_is_the_same_on_another_replica(
    settings: ChatSettings, tmp_path: Path, redis_is: str
) -> None:
    async with running_chat(settings, tmp_path) as one, running_chat(settings, tmp_path, one.neighbours) as two:
        who = one.newcomer()
        if redis_is == "away":
            for chat in (one, two):
                await chat.data.close()
                await chat.knows("unavailable", "redis_data")

        first = await one.send(who, "What is Redis?", "s", idempotency_key="k")
        second = await two.send(who, "What is Redis?", "s", idempotency_key="k")
        other = await two.send(who, "What?", "s", idempotency_key="k")

        assert first.json() == second.json()
        assert second.headers["idempotency-replayed"] == "true"
        assert other.status_code == 422


async def test_without_accounts_a_lease_is_burned_and_settled_afterwards(
    settings: ChatSettings, tmp_path: Path
) -> None:
    async with running_chat(settings, tmp_path) as chat:
        who, stranger = chat.newcomer(), chat.newcomer()
        await chat.send(who, "What is Redis?")
        await eventually(lambda: len(chat.neighbours.accounts.ledger[who.organization_id]) == 1)
        chat.neighbours.accounts.is_away = True

        replies = [await chat.send(who, "What is Redis?") for _ in range(5)]
        refused = await chat.send(stranger, "What is Redis?")

        assert [r.status_code for r in replies] == [200] * 5
        assert replies[-1].json()["usage"]["used"] == 6
        assert refused.status_code == 503
        assert refused.json()["capability"] == "accounts"
        assert "retry-after" in refused.headers
        assert len(chat.neighbours.accounts.ledger[who.organization_id]) == 1

    chat.neighbours.accounts.is_away = False
    async with running_chat(settings, tmp_path, chat.neighbours):

        async def is_settled() -> bool:
            return len(chat.neighbours.accounts.ledger[who.organization_id]) == 6

        await eventually(is_settled)


async def test_without_knowledge_cached_answers_are_served(settings: ChatSettings, tmp_path: Path) -> None:
    async with running_chat(settings, tmp_path) as chat:
        who = chat.newcomer()
        await chat.send(who, "What is Redis?")
        chat.neighbours.knowledge.is_away = True

        cached = await chat.send(who, "What is Redis?")
        new = await chat.send(who, "Something else?")

        assert (cached.status_code, cached.json()["cache"]) == (200, "process")
        assert new.status_code == 503
        assert new.json()["capability"] == "knowledge"


async def test_every_engine_away_at_the_start_does_not_keep_it_from_starting(
    settings: ChatSettings, tmp_path: Path
) -> None:
    nobody = settings.model_copy(
        update={"scylla_port": 9, "redis_cache_url": "redis://127.0.0.1:9", "redis_data_url": "redis://127.0.0.1:9"}
    )
    near = Neighbours()
    app = make_app(nobody.model_copy(update={"state_dir": tmp_path}), near.transports())
    who = somebody()
    async with running(app, "chat-service", who) as client:
        ready = await client.get("/health/ready")
        message = await client.post("/chat/message", json={"message": "Hello?"})
        history = await client.get("/chat/history/s")

        assert ready.status_code == 200
        assert message.json()["persisted"] == "deferred"
        assert history.status_code == 503
