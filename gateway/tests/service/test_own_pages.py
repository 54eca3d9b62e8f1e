"""Health, limits, the merged document and its page."""

import asyncio
import os
import re
import signal
import sys

import httpx2
import pytest

from gateway.testing import InMemoryBuckets, Replica, RunningGateway, TokenMint, running_gateway, settings_for
from shared.testing import KEY, eventually


async def test_health_needs_no_token_and_says_everything(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/health", headers={"Authorization": ""})

    assert reply.status_code == 200
    assert set(reply.json()) == {"status", "version", "capabilities", "services", "databases"}


async def test_health_notices_a_lost_service_and_its_return(client: httpx2.AsyncClient, replica: Replica) -> None:
    async def capability() -> str:
        return str((await client.get("/health")).json()["capabilities"]["conversations"])

    async def is_now(expected: str) -> bool:
        return await capability() == expected

    replica.kill()
    await eventually(lambda: is_now("unavailable"), 3)
    await replica.start()

    assert await eventually(lambda: is_now("ok"), 3)


async def test_health_notices_an_engine_that_a_service_misses(client: httpx2.AsyncClient, replica: Replica) -> None:
    replica.own["/internal/health"] = {"service": "x", "version": "1", "databases": {"cql": "unavailable"}}

    async def missed() -> bool:
        health = (await client.get("/health")).json()
        return bool(health["status"] == "degraded" and health["databases"]["cql"]["status"] == "unavailable")

    assert await eventually(missed, 3)


async def test_liveness_and_readiness_are_200_without_any_service() -> None:
    async with (
        running_gateway(settings_for("http://127.0.0.1:1")) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        statuses = [(await client.get(path)).status_code for path in ("/health/live", "/health/ready", "/health")]

        assert statuses == [200, 200, 200]
        assert (await client.get("/health")).json()["status"] == "degraded"


async def test_a_spent_rate_is_429_with_all_headers(replica: Replica, mint: TokenMint) -> None:
    async with (
        running_gateway(settings_for(replica.url), InMemoryBuckets()) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        headers = {"Authorization": f"Bearer {mint.token('free')}"}
        replies = await asyncio.gather(*(client.get("/chat/sessions", headers=headers) for _ in range(40)))
        other = await client.get("/chat/sessions", headers={"Authorization": f"Bearer {mint.token('free')}"})

    refused = [reply for reply in replies if reply.status_code == 429]
    assert 18 <= len(refused) <= 20
    assert refused[0].json()["code"] == "rate_limited"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert refused[0].headers["ratelimit-policy"] == '"default";q=20;w=4'
    assert re.fullmatch(r'"default";r=0;t=\d+', refused[0].headers["ratelimit"])
    assert other.status_code == 200


async def test_anonymous_calls_are_limited_by_address(replica: Replica) -> None:
    settings = settings_for(replica.url, anonymous_rate=0.1, anonymous_burst=4)
    async with (
        running_gateway(settings) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        logins = [(await client.post("/auth/login", json={})).status_code for _ in range(6)]
        guesses = [(await client.get("/auth/me", headers={"Authorization": "Bearer x"})).status_code for _ in range(2)]
        health = (await client.get("/health")).status_code

    assert (logins, guesses, health) == ([200] * 4 + [429] * 2, [429] * 2, 200)


async def test_the_document_is_merged_and_kept_while_a_service_is_away(replica: Replica) -> None:
    own = {"openapi": "3.1.0", "paths": {"/chat/sessions": {"get": {"responses": {"200": {"description": "ok"}}}}}}
    replica.own["/openapi.json"] = own
    async with (
        running_gateway(settings_for(replica.url)) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as fresh,
    ):
        await asyncio.sleep(0.3)
        replica.kill()

        document = (await fresh.get("/openapi.json")).json()

    assert {"/chat/sessions", "/health"} <= set(document["paths"])
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_the_documentation_page_needs_nothing_from_elsewhere(client: httpx2.AsyncClient) -> None:
    page = await client.get("/docs", headers={"Authorization": ""})

    policy = page.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "script-src 'self'" in policy
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert all(link.startswith("/") for link in links)
    for link in [*links, "/docs/openapi.json"]:
        assert (await client.get(link)).status_code == 200
    assert (await client.get("/docs/absent.js")).status_code == 404


async def test_sigterm_finishes_what_runs_and_exits_with_0(replica: Replica, mint: TokenMint) -> None:
    async def slow(_asked: object, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.7)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")

    replica.answer = slow
    services = ("AUTH_SERVICE", "CHAT_SERVICE", "KNOWLEDGE_SERVICE", "NOTIFICATION_SERVICE", "TASK_WORKER")
    port = _free_port()
    environment = os.environ | {f"{name}_URL": replica.url for name in services}
    environment |= {"GATEWAY_PORT": str(port), "INTERNAL_IDENTITY_KEY": KEY.decode()}
    environment |= {"REDIS_DATA_URL": "redis://127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await _until_live(client)
            request = client.get("/chat/sessions", headers={"Authorization": f"Bearer {mint.token()}"})
            running = asyncio.create_task(request)
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)

            assert (await running).text == "done"
        output, _ = await asyncio.wait_for(process.communicate(), 5)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert b'"operation":"list_sessions"' in output


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_live(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                await client.get("/health/live")
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.mark.parametrize("path", ["/health", "/docs", "/openapi.json"])
async def test_own_pages_carry_security_headers(gateway: RunningGateway, path: str) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        reply = await client.get(path)

    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
