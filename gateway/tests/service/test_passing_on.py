"""What a service sees of a request, and what a client sees of a reply."""

import asyncio
import uuid

import httpx2
import orjson
import pytest

from gateway.testing import Asked, Replica, RunningGateway, TokenMint, plain
from shared.identity import IdentityVerifier
from shared.testing import KEY


async def test_a_request_reaches_its_service_with_the_person_behind_it(
    client: httpx2.AsyncClient, replica: Replica, gateway: RunningGateway, mint: TokenMint
) -> None:
    token = mint.token(plan="pro", sub="ada", org="acme", role="editor", jti="t1")

    reply = await client.get(
        "/chat/history/s1?limit=3", headers={"Authorization": f"Bearer {token}", "traceparent": "nonsense"}
    )

    assert reply.json() == {"ok": True}
    asked = replica.asked[-1]
    caller = IdentityVerifier(KEY, "chat-service").verify(asked.headers["x-internal-identity"].encode())
    assert caller.principal is not None
    assert (caller.service, caller.principal.user_id, caller.principal.role) == ("gateway", "ada", "editor")
    assert asked.target == "/chat/history/s1?limit=3"
    assert asked.headers["x-deadline-ms"] == "5000"
    assert asked.headers["x-client-address"] == "127.0.0.1"
    assert asked.headers["traceparent"].startswith("00-")
    assert "authorization" not in asked.headers
    assert gateway.port not in (0, replica.port)


async def test_identity_and_forwarding_headers_of_a_client_never_reach_a_service(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    forged = {
        "X-Internal-Identity": "forged",
        "X-Internal-Anything": "forged",
        "X-Deadline-Ms": "999999",
        "X-Client-Address": "1.2.3.4",
        "X-Forwarded-For": "1.2.3.4",
        "Forwarded": "for=1.2.3.4",
        "X-User-Id": "forged",
        "X-Organization-Id": "forged",
        "X-Retry-Key": "forged",
        "Degraded": "forged",
        "X-Original-URL": "/internal/revocations",
        "Cookie": "forged",
    }

    await client.post("/chat/message", json={"message": "hi"}, headers=forged)

    headers = replica.asked[-1].headers
    assert not {"x-internal-anything", "x-forwarded-for", "forwarded", "x-user-id", "x-organization-id"} & set(headers)
    assert not {"degraded", "x-original-url", "cookie"} & set(headers)
    assert "forged" not in headers.values()
    assert headers["x-client-address"] == "127.0.0.1"


async def test_a_message_carries_a_key_of_the_gateway_for_its_repeat(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    await client.post("/chat/message", json={"message": "hi"})
    await client.post("/chat/message", json={"message": "hi"})

    first, second = (uuid.UUID(asked.headers["x-retry-key"]) for asked in replica.asked[-2:])
    assert first.version == second.version == 7
    assert first != second


async def test_a_valid_request_id_and_trace_are_taken_over_others_replaced(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    kept = await client.get("/auth/me", headers={"X-Request-Id": "abc.1-2_3", "traceparent": trace})
    replaced = await client.get("/auth/me", headers={"X-Request-Id": "a b"})

    assert kept.headers["x-request-id"] == replica.asked[-2].headers["x-request-id"] == "abc.1-2_3"
    assert replica.asked[-2].headers["traceparent"] == trace
    assert uuid.UUID(replaced.headers["x-request-id"])


async def test_replies_carry_security_headers_and_are_never_stored(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    async def says_cache_me(_asked: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            plain(
                200,
                b"{}",
                cache_control="public, max-age=9",
                server="secret/1.0",
                x_request_id="theirs",
                degraded="cache",
            )
        )

    replica.answer = says_cache_me

    reply = await client.get("/auth/me")

    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert reply.headers["degraded"] == "cache"
    assert "server" not in reply.headers
    assert reply.headers.get_list("x-request-id") != ["theirs"]
    assert len(reply.headers.get_list("x-request-id")) == len(reply.headers.get_list("date")) == 1


async def test_a_public_document_may_be_cached_as_its_service_says(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    async def says_cache_me(_asked: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(200, b"{}", cache_control="public, max-age=9"))

    replica.answer = says_cache_me

    reply = await client.get("/billing/plans", headers={"Authorization": ""})

    assert reply.headers["cache-control"] == "public, max-age=9"


@pytest.mark.parametrize(
    ("status", "body", "raw"),
    [
        (204, b"", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (304, b"", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (
            200,
            b"hello world",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        ),
        (200, b"until the end", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"),
        (200, b"late", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"),
        (418, b"", b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n"),
    ],
)
async def test_every_way_to_frame_a_reply_comes_through(
    client: httpx2.AsyncClient, replica: Replica, status: int, body: bytes, raw: bytes
) -> None:
    async def says_raw(_asked: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        if b"connection: close" in raw:
            writer.close()

    replica.answer = says_raw

    first = await client.get("/auth/me")
    second = await client.get("/auth/me")

    assert (first.status_code, first.content) == (second.status_code, second.content) == (status, body)


async def test_head_is_answered_like_get_without_a_body(client: httpx2.AsyncClient, replica: Replica) -> None:
    reply = await client.head("/auth/me")

    assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"", "11")
    assert replica.asked[-1].method == "GET"


async def test_a_body_arrives_whole_however_it_was_framed(client: httpx2.AsyncClient, replica: Replica) -> None:
    body = orjson.dumps({"message": "x" * 200_000})

    async def pieces():  # noqa: ANN202 - an async iterator of bytes
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for content in (body, pieces()):
        reply = await client.post("/chat/message", content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code == 200
        assert replica.asked[-1].body == body
        assert replica.asked[-1].headers["content-length"] == str(len(body))


async def test_an_import_of_megabytes_is_streamed_through(client: httpx2.AsyncClient, replica: Replica) -> None:
    content = b"question,answer\n" * 500_000

    reply = await client.post("/knowledge/import", files={"file": ("a.csv", content, "text/csv")})

    assert reply.status_code == 200
    assert content in replica.asked[-1].body


async def test_a_large_reply_is_streamed_through(client: httpx2.AsyncClient, replica: Replica) -> None:
    content = b"x" * 5_000_000

    async def says_much(_asked: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(200, content))

    replica.answer = says_much

    assert (await client.get("/auth/me")).content == content


async def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    absent = await client.get("/nope")
    wrong = await client.put("/chat/message", json={})
    inside = [await client.get(path) for path in ("/internal/revocations", "/internal/health", "/health/nope")]

    assert absent.status_code == 404
    assert absent.json()["code"] == "not_found"
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert {reply.status_code for reply in inside} == {404}
    assert replica.asked == []
    for reply in (absent, wrong, *inside):
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["request_id"] == reply.headers["x-request-id"]
