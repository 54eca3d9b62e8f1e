"""Articles through the service's own HTTP: drafts, versions, lists, publishing, roles."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

from shared.principal import Principal
from shared.testing import identity_headers, somebody

pytestmark = pytest.mark.engines

Replica = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

RESET = {"question": "How do I reset the Quarzel device?", "alternatives": ["Quarzel restart"], "answer": "Hold it."}


def as_(principal: Principal | None, issuer: str = "gateway") -> dict[str, str]:
    return identity_headers("knowledge-service", principal, issuer)


@pytest.fixture
async def client(replica: Replica, principal: Principal) -> AsyncIterator[httpx2.AsyncClient]:
    async with replica(principal) as client:
        yield client


async def test_a_draft_is_shown_but_does_not_answer(client: httpx2.AsyncClient) -> None:
    made = await client.post("/knowledge/articles", json=RESET)
    asked = await client.post("/knowledge/ask", json={"question": RESET["question"]})

    assert made.status_code == 201
    assert made.json()["status"] == "draft"
    assert (await client.get(f"/knowledge/articles/{made.json()['id']}")).json() == made.json()
    assert asked.json()["answer"] is None or "Hold it." not in asked.json()["answer"]["text"]


async def test_what_is_published_answers_until_its_change_or_removal_is_published(client: httpx2.AsyncClient) -> None:
    article_id = (await client.post("/knowledge/articles", json=RESET)).json()["id"]

    async def answer() -> str | None:
        asked = (await client.post("/knowledge/ask", json={"question": "how do i reset my Quarzel device"})).json()
        return asked["answer"] and asked["answer"]["text"]

    first = (await client.post("/knowledge/publish")).json()
    assert await answer() == "Hold it."
    changed = await client.patch(f"/knowledge/articles/{article_id}", json={"answer": "Press TEN times."})
    assert (changed.json()["version"], changed.json()["status"], changed.json()["published_version"]) == (2, "draft", 1)
    assert await answer() == "Hold it."
    second = (await client.post("/knowledge/publish")).json()
    assert await answer() == "Press TEN times."
    assert (await client.delete(f"/knowledge/articles/{article_id}")).status_code == 204
    assert (await client.get(f"/knowledge/articles/{article_id}")).status_code == 404
    assert await answer() == "Press TEN times."
    third = (await client.post("/knowledge/publish")).json()
    assert await answer() is None
    assert first["epoch"] < second["epoch"] < third["epoch"]
    assert third["articles"] == 0


async def test_an_organization_that_emptied_its_base_does_not_fall_back_to_the_starter_base(
    client: httpx2.AsyncClient,
) -> None:
    await client.post("/knowledge/publish")

    asked = (await client.post("/knowledge/ask", json={"question": "What is Redis?"})).json()

    assert (asked["outcome"], asked["answer"], asked["epoch"]) == ("no_answer", None, 1)


async def test_a_change_that_changes_nothing_makes_no_version(client: httpx2.AsyncClient) -> None:
    made = (await client.post("/knowledge/articles", json=RESET)).json()

    same = await client.patch(f"/knowledge/articles/{made['id']}", json={"answer": RESET["answer"]})

    assert same.json() == made


async def test_every_version_can_be_read(client: httpx2.AsyncClient) -> None:
    made = (await client.post("/knowledge/articles", json=RESET)).json()
    await client.patch(f"/knowledge/articles/{made['id']}", json={"tags": ["devices"], "external_id": "q-1"})
    await client.patch(f"/knowledge/articles/{made['id']}", json={"external_id": None})

    versions = (await client.get(f"/knowledge/articles/{made['id']}/versions")).json()["versions"]

    assert [(each["version"], each["tags"], each["external_id"]) for each in versions] == [
        (3, ["devices"], None),
        (2, ["devices"], "q-1"),
        (1, [], None),
    ]


async def test_lists_are_newest_first_and_their_cursors_belong_to_them(
    client: httpx2.AsyncClient, principal: Principal
) -> None:
    for number in range(5):
        tags = ["even"] if number % 2 == 0 else ["odd"]
        await client.post("/knowledge/articles", json={**RESET, "question": f"Question {number}?", "tags": tags})

    first = (await client.get("/knowledge/articles", params={"limit": 3})).json()
    cursor = first["next_cursor"]
    second = (await client.get("/knowledge/articles", params={"limit": 3, "cursor": cursor})).json()
    tagged = (await client.get("/knowledge/articles", params={"tag": "odd"})).json()
    found = (await client.get("/knowledge/articles", params={"q": "question 4"})).json()
    colleague = somebody("viewer", organization_id=principal.organization_id)

    assert [each["question"] for each in first["articles"]] == ["Question 4?", "Question 3?", "Question 2?"]
    assert [each["question"] for each in second["articles"]] == ["Question 1?", "Question 0?"]
    assert second["next_cursor"] is None
    assert [each["question"] for each in tagged["articles"]] == ["Question 3?", "Question 1?"]
    assert [each["question"] for each in found["articles"]] == ["Question 4?"]
    for refused in (
        await client.get("/knowledge/articles", params={"cursor": cursor, "tag": "odd"}),
        await client.get("/knowledge/articles", params={"cursor": cursor}, headers=as_(colleague)),
        await client.get("/knowledge/articles", params={"cursor": "zzz"}),
        await client.get("/knowledge/articles", params={"limit": 0}),
        await client.get("/knowledge/articles", params={"status": "lost"}),
    ):
        assert refused.status_code == 422


async def test_the_status_filter_follows_what_is_published(client: httpx2.AsyncClient) -> None:
    await client.post("/knowledge/articles", json={**RESET, "question": "One?"})
    await client.post("/knowledge/publish")
    await client.post("/knowledge/articles", json={**RESET, "question": "Two?"})

    by_status = {
        status: [
            each["question"]
            for each in (await client.get("/knowledge/articles", params={"status": status})).json()["articles"]
        ]
        for status in ("published", "draft")
    }

    assert by_status == {"published": ["One?"], "draft": ["Two?"]}


async def test_a_foreign_article_and_an_absent_one_look_the_same(client: httpx2.AsyncClient) -> None:
    made = (await client.post("/knowledge/articles", json=RESET)).json()
    stranger = as_(somebody("owner"))

    for method, body in (("GET", None), ("PATCH", {"answer": "x"}), ("DELETE", None)):
        replies = [
            await client.request(method, f"/knowledge/articles/{article_id}", json=body, headers=stranger)
            for article_id in (made["id"], str(uuid.uuid4()), "x'--")
        ]
        assert [reply.status_code for reply in replies] == [404, 404, 404]
        assert len({reply.json()["code"] for reply in replies}) == 1


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("viewer", set()), ("editor", {"draft", "ask", "import"}), ("admin", {"draft", "ask", "import", "publish"})],
)
async def test_viewers_read_editors_draft_admins_publish(
    client: httpx2.AsyncClient, role: str, allowed: set[str]
) -> None:
    headers = as_(somebody(role))
    tries = {
        "draft": await client.post("/knowledge/articles", json=RESET, headers=headers),
        "ask": await client.post("/knowledge/ask", json={"question": "What is Redis?"}, headers=headers),
        "import": await client.post("/knowledge/import", json={"articles": [RESET]}, headers=headers),
        "publish": await client.post("/knowledge/publish", headers=headers),
    }
    published_import = await client.post("/knowledge/import?publish=true", json={"articles": [RESET]}, headers=headers)

    assert {name for name, reply in tries.items() if reply.status_code < 300} == allowed
    assert all(reply.status_code == 403 for name, reply in tries.items() if name not in allowed)
    assert (published_import.status_code == 202) is ("publish" in allowed)
    assert (await client.get("/knowledge/search", params={"q": "redis"}, headers=headers)).status_code == 200
    assert (await client.get("/knowledge/articles", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"question": "q"},
        {"question": "q", "answer": ""},
        {"question": "  ", "answer": "a"},
        {"question": "q\x00", "answer": "a"},
        {"question": "q" * 1_001, "answer": "a"},
        {"question": "q", "answer": "a" * 20_001},
        {"question": "q", "answer": "a", "alternatives": ["x"] * 301},
        {"question": "q", "answer": "a", "tags": ["x" * 65]},
        {"question": "q", "answer": "a", "tags": [str(n) for n in range(51)]},
        {"question": "q", "answer": "a", "unknown": 1},
        {"question": 5, "answer": "a"},
        {"question": "q", "answer": "a", "language": "english please"},
    ],
    ids=",".join,
)
async def test_an_article_out_of_its_rules_is_refused_and_named(
    client: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    refused = await client.post("/knowledge/articles", json=body)

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["errors"][0]["field"]


async def test_a_repeated_key_drafts_once(client: httpx2.AsyncClient) -> None:
    keyed = {"Idempotency-Key": uuid.uuid4().hex}

    once = await client.post("/knowledge/articles", json=RESET, headers=keyed)
    twice = await client.post("/knowledge/articles", json=RESET, headers=keyed)
    other = await client.post("/knowledge/articles", json={**RESET, "answer": "Other."}, headers=keyed)

    assert (once.status_code, twice.status_code, other.status_code) == (201, 201, 422)
    assert twice.json() == once.json()
    assert twice.headers["Idempotency-Replayed"] == "true"
    assert len((await client.get("/knowledge/articles")).json()["articles"]) == 1


async def test_nobody_is_served_without_an_identity(client: httpx2.AsyncClient) -> None:
    del client.headers["X-Internal-Identity"]

    assert (await client.get("/knowledge/articles")).status_code == 401
    assert (await client.get("/health/live")).status_code == 200
