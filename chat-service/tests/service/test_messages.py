"""The public paths over real engines."""

import asyncio
from typing import Any

import pytest

from chat_service.testing import Running
from shared.ids import new_id
from shared.testing import eventually, identity_headers

pytestmark = pytest.mark.engines


async def test_a_question_is_answered_kept_and_charged(chat: Running) -> None:
    who = chat.newcomer()

    first = (await chat.send(who, "What is Redis?", "mine")).json()
    second = (await chat.send(who, " what is redis", "mine")).json()
    unknown = (await chat.send(who, "Moons?", "mine")).json()

    assert (first["outcome"], first["reply"], first["cache"]) == ("answered", "A store in memory.", "none")
    assert (second["cache"], second["answer"]["text"]) == ("process", first["answer"]["text"])
    assert (unknown["outcome"], unknown["answer"], unknown["usage"]["used"]) == ("no_answer", None, 2)
    assert [t for t in await chat.texts(who, "mine") if t in ("What is Redis?", " what is redis", "Moons?")] == [
        "What is Redis?",
        " what is redis",
        "Moons?",
    ]

    async def is_charged() -> bool:
        return len(chat.neighbours.accounts.ledger[who.organization_id]) == 2

    await eventually(is_charged)


async def test_the_same_session_id_of_two_users_is_two_sessions(chat: Running) -> None:
    ada, bob = chat.newcomer(), chat.newcomer()

    await chat.send(ada, "What is Redis?", "shared")
    hidden = await chat.get(bob, "/chat/history/shared")
    await chat.send(bob, "What is Redis?", "shared")

    assert hidden.status_code == 404
    assert len(await chat.texts(ada, "shared")) == 2


async def test_a_repeat_by_the_gateway_is_the_same_message(chat: Running) -> None:
    who = chat.newcomer()
    key = str(new_id())

    replies = [(await chat.send(who, "What is Redis?", x_retry_key=key)).json() for _ in range(2)]

    assert replies[0]["message_id"] == replies[1]["message_id"]
    assert len(await chat.texts(who, replies[0]["session_id"])) == 2


async def test_a_repeated_idempotency_key_is_one_message(chat: Running) -> None:
    who = chat.newcomer()

    both = await asyncio.gather(*(chat.send(who, "What is Redis?", "k", idempotency_key="one") for _ in range(2)))
    again = await chat.send(who, "What is Redis?", "k", idempotency_key="one")
    other = await chat.send(who, "Other?", "k", idempotency_key="one")

    assert both[0].content == both[1].content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_reply_can_be_streamed(chat: Running) -> None:
    who = chat.newcomer()

    reply = await chat.send(who, "What is Redis?", accept="text/event-stream")

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.index("event: reply") < reply.text.index("event: message")


async def test_a_deleted_session_is_gone(chat: Running) -> None:
    who = chat.newcomer()
    await chat.send(who, "What is Redis?", "gone")

    deleted = await chat.client.delete("/chat/sessions/gone", headers=identity_headers("chat-service", who))

    assert deleted.status_code == 204
    assert (await chat.get(who, "/chat/history/gone")).status_code == 404
    assert (await chat.get(who, "/chat/sessions")).json()["sessions"] == []


async def test_counters_are_live(chat: Running) -> None:
    who = chat.newcomer()
    for _ in range(3):
        await chat.send(who, "What is Redis?")

    summary = (await chat.get(who, "/analytics/summary")).json()

    assert summary["messages"] == 3
    assert summary["cache"]["hit_rate"] == pytest.approx(2 / 3, abs=0.01)
    assert summary["popular"] == [{"question": "What is Redis?", "count": 3}]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b'{"message":NaN}', 400),
        (b'{"message":1e999}', 400),
        (b'{"message":"a","message":"b"}', 400),
        (b'{"message":' + b"[" * 500 + b"]" * 500 + b"}", 400),
        (b'{"message":"\\ud800"}', 422),
        (b'{"message":"a\\u0000b"}', 422),
        (b'{"message":"  "}', 422),
        (b'{"message":5}', 422),
        (b'{"message":"hi","sesion_id":"x"}', 422),
        (b'{"message":"hi","session_id":"a b/../c"}', 422),
        (b'{"message":"' + b"x" * 4001 + b'"}', 422),
        (b'{"message":"' + b"x" * 2_000_000 + b'"}', 413),
    ],
)
async def test_bad_input_is_a_problem(chat: Running, raw: bytes, status: int) -> None:
    headers = identity_headers("chat-service", chat.newcomer()) | {"content-type": "application/json"}

    reply = await chat.client.post("/chat/message", content=raw, headers=headers)

    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"


async def test_the_document_has_every_public_path_with_its_problems(chat: Running) -> None:
    document: dict[str, Any] = (await chat.get(chat.newcomer(), "/openapi.json")).json()

    assert set(document["paths"]) >= {
        "/chat/message",
        "/chat/history/{session_id}",
        "/chat/sessions",
        "/chat/sessions/{session_id}",
        "/chat/sessions/{session_id}/messages/{message_id}/feedback",
        "/analytics/summary",
    }
    assert {"200", "400", "401", "409", "413", "415", "422", "429", "503"} <= set(
        document["paths"]["/chat/message"]["post"]["responses"]
    )
