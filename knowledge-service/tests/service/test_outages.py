"""What holds while an engine is away, with several replicas, and how it heals."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from knowledge_service.settings import KnowledgeSettings
from shared.principal import Principal
from shared.testing import eventually, identity_headers, somebody

pytestmark = pytest.mark.engines

Replica = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

NOTHING_THERE = 9
RESET = {"question": "How do I reset the Quarzel device?", "alternatives": ["Quarzel restart"], "answer": "Hold it."}
ASKED = "how do i reset my Quarzel device"
REFUSED_WITHOUT_CQL = (
    ("POST", "/knowledge/articles", RESET),
    ("GET", "/knowledge/articles", None),
    ("POST", "/knowledge/publish", None),
    ("POST", "/knowledge/import", {"articles": [RESET]}),
)


async def ask(client: httpx2.AsyncClient, question: str = ASKED) -> dict:
    reply = await client.post("/knowledge/ask", json={"question": question})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def text_of(client: httpx2.AsyncClient) -> str | None:
    answer = (await ask(client))["answer"]
    return answer and answer["text"]


async def test_without_any_engine_the_starter_base_answers_from_the_package(
    replica: Replica, principal: Principal
) -> None:
    away = {"scylla_port": NOTHING_THERE, "redis_data_url": f"redis://127.0.0.1:{NOTHING_THERE}/0"}
    async with replica(principal, **away) as client:
        asked = await ask(client, "What is Redis?")
        searched = await client.get("/knowledge/search", params={"q": "redis"})
        health = (await client.get("/internal/health")).json()

    assert (asked["outcome"], asked["epoch"], asked["degraded"]) == ("answered", 0, ["knowledge"])
    assert searched.status_code == 200
    assert searched.json()["degraded"] == ["knowledge"]
    assert searched.headers["Degraded"] == "knowledge"
    assert searched.json()["as_of"]
    assert health["databases"]["cql"] == "unavailable"


async def test_while_cql_is_away_answers_go_on_and_edits_are_refused_until_it_is_back(
    replica: Replica, principal: Principal, cql_wire: Any
) -> None:
    async with replica(principal, scylla_port=cql_wire.port) as client:
        await client.post("/knowledge/articles", json=RESET)
        await client.post("/knowledge/publish")
        before = await ask(client)

        await cql_wire.cut()

        async def is_degraded() -> bool:
            began = time.monotonic()
            during = await ask(client)
            assert time.monotonic() - began < 2
            return bool(during == {**before, "degraded": ["knowledge"]})

        assert await eventually(is_degraded, 5, despite=())
        for method, path, body in REFUSED_WITHOUT_CQL:
            refused = await client.request(method, path, json=body)
            assert (refused.status_code, refused.json()["capability"]) == (503, "knowledge")
            assert "Retry-After" in refused.headers

        await cql_wire.mend()

        async def healed() -> bool:
            return (await client.post("/knowledge/articles", json=RESET)).status_code == 201

        await eventually(healed, 10)
        assert await ask(client) == before


async def test_a_restart_without_cql_answers_from_the_disk(replica: Replica, principal: Principal) -> None:
    async with replica(principal) as client:
        await client.post("/knowledge/articles", json=RESET)
        await client.post("/knowledge/publish")
        before = await ask(client)

    async with replica(principal, scylla_port=NOTHING_THERE) as restarted:
        assert await ask(restarted) == {**before, "degraded": ["knowledge"]}


async def test_knowledge_that_is_out_of_reach_is_refused_rather_than_replaced(
    replica: Replica, principal: Principal, tmp_path: Path
) -> None:
    async with replica(principal) as client:
        await client.post("/knowledge/articles", json=RESET)
        await client.post("/knowledge/publish")

    async with replica(principal, scylla_port=NOTHING_THERE, state_dir=tmp_path / "empty") as elsewhere:
        refused = await elsewhere.post("/knowledge/ask", json={"question": ASKED})

    assert (refused.status_code, refused.json()["capability"]) == (503, "knowledge")


@pytest.mark.parametrize("redis_is", ["there", "away"])
async def test_a_publish_is_seen_by_other_replicas_within_two_seconds(
    replica: Replica, principal: Principal, tmp_path: Path, redis_is: str
) -> None:
    changed = {} if redis_is == "there" else {"redis_data_url": f"redis://127.0.0.1:{NOTHING_THERE}/0"}
    async with (
        replica(principal, state_dir=tmp_path / "a", **changed) as one,
        replica(principal, state_dir=tmp_path / "b", **changed) as other,
    ):
        article_id = (await one.post("/knowledge/articles", json=RESET)).json()["id"]
        await one.post("/knowledge/publish")
        for number in range(3):
            wanted = f"Press {number} times."
            await one.patch(f"/knowledge/articles/{article_id}", json={"answer": wanted})
            await text_of(other)
            await one.post("/knowledge/publish")
            assert await text_of(one) == wanted

            async def seen(wanted: str = wanted) -> bool:
                return await text_of(other) == wanted

            await eventually(seen, 1.9)
        mine, theirs = await ask(one), await ask(other)

    assert mine == theirs


async def test_losing_redis_in_the_middle_is_not_noticed(
    replica: Replica, principal: Principal, settings: KnowledgeSettings, redis_wire: Any
) -> None:
    database = settings.data_url.rpartition("/")[2]
    async with replica(principal, redis_data_url=f"redis://127.0.0.1:{redis_wire.port}/{database}") as client:
        await client.post("/knowledge/articles", json=RESET)
        await redis_wire.cut()

        published = await client.post("/knowledge/publish")

        assert published.status_code == 200
        assert await text_of(client) == "Hold it."
        await redis_wire.mend()

        async def announced() -> bool:
            return (await client.get("/internal/health")).json()["databases"]["redis_data"] == "ok"

        await eventually(announced, 10)


async def test_ten_publishes_at_once_on_two_replicas_all_get_their_own_epoch(
    replica: Replica, principal: Principal, tmp_path: Path
) -> None:
    async with (
        replica(principal, state_dir=tmp_path / "a") as one,
        replica(principal, state_dir=tmp_path / "b") as other,
    ):
        replies = await asyncio.gather(*(client.post("/knowledge/publish") for client in (one, other) * 5))

    epochs = [reply.json()["epoch"] for reply in replies if reply.status_code == 200]
    assert {reply.status_code for reply in replies} <= {200, 409}
    assert len(set(epochs)) == len(epochs) >= 5


async def test_neighbours_ask_retrieve_and_learn_the_epoch(replica: Replica, principal: Principal) -> None:
    organization = principal.organization_id
    async with replica(principal) as client:
        await client.post("/knowledge/articles", json=RESET)
        published = (await client.post("/knowledge/publish")).json()
        neighbour = identity_headers("knowledge-service", None, "chat-service")

        epoch = await client.get(
            "/internal/knowledge/epoch", params={"organization_id": organization}, headers=neighbour
        )
        body = {"organization_id": organization, "question": ASKED}
        asked = await client.post("/internal/knowledge/ask", json=body, headers=neighbour)
        body = {"organization_id": organization, "queries": [ASKED, "unrelated words"]}
        retrieved = await client.post("/internal/knowledge/retrieve", json=body, headers=neighbour)
        person = await client.post(
            "/internal/knowledge/ask", json=body, headers=identity_headers("knowledge-service", somebody())
        )

    assert epoch.json()["epoch"] == published["epoch"]
    assert asked.json()["answer"]["text"] == "Hold it."
    assert [len(each["hits"]) for each in retrieved.json()["results"]] == [1, 0]
    assert person.status_code == 403
