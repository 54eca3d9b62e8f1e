"""What is at `/`, and documents that are large enough to be compressed."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from gateway.testing import InMemoryBuckets, Replica, RunningGateway, running_gateway, settings_for

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DOCUMENTS = ["/openapi.json", "/docs/openapi.json", "/docs/swagger-ui-bundle.js", "/docs/home.css"]


@pytest.fixture
async def visitor(gateway: RunningGateway) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody without an account."""
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        yield client


async def test_a_browser_finds_a_page_that_says_where_to_begin(visitor: httpx2.AsyncClient) -> None:
    page = await visitor.get("/", headers={"Accept": BROWSER})

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for named in ("/docs", "/health", "/openapi.json", "faq login", "faq ask", "/auth/login"):
        assert named in page.text
    for link in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert (await visitor.get(link)).status_code == 200


async def test_the_page_runs_no_script_and_lets_none_in(visitor: httpx2.AsyncClient) -> None:
    page = await visitor.get("/", headers={"Accept": BROWSER})

    policy = page.headers["content-security-policy"]
    assert "script" not in policy
    assert policy.startswith("default-src 'none'")
    assert "<script" not in page.text
    assert "style=" not in page.text


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
async def test_a_program_gets_the_same_as_json(visitor: httpx2.AsyncClient, accept: str) -> None:
    reply = await visitor.get("/", headers={"Accept": accept})

    assert reply.headers["content-type"] == "application/json"
    assert {reply.json()[name] for name in ("docs", "openapi", "health")} == {"/docs", "/openapi.json", "/health"}
    assert reply.headers["vary"] == "accept"


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_compressed_for_whoever_takes_that(visitor: httpx2.AsyncClient, path: str) -> None:
    plain = await visitor.get(path, headers={"Accept-Encoding": "identity"})
    zipped = await visitor.get(path, headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < int(plain.headers["content-length"])
    assert zipped.content == plain.content
    assert zipped.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == zipped.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_a_document_the_client_has_is_not_sent_again(visitor: httpx2.AsyncClient, path: str, coding: str) -> None:
    first = await visitor.get(path, headers={"Accept-Encoding": coding})
    headers = {"Accept-Encoding": coding, "If-None-Match": first.headers["etag"]}
    again = await visitor.get(path, headers=headers)

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == first.headers["cache-control"]
    assert (await visitor.get(path, headers=headers | {"If-None-Match": '"other"'})).status_code == 200


async def test_head_says_how_long_the_compressed_document_is(visitor: httpx2.AsyncClient) -> None:
    head = await visitor.head("/openapi.json", headers={"Accept-Encoding": "gzip"})
    get = await visitor.get("/openapi.json", headers={"Accept-Encoding": "gzip"})

    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.content == b""


async def test_a_document_that_changed_is_another_one(
    visitor: httpx2.AsyncClient, gateway: RunningGateway, replica: Replica
) -> None:
    before = (await visitor.get("/openapi.json")).headers["etag"]
    document = {
        "openapi": "3.1.0",
        "paths": {"/chat/message": {"post": {"summary": "new", "responses": {"200": {"description": "ok"}}}}},
    }
    replica.own["/openapi.json"] = document
    async with (
        running_gateway(settings_for(replica.url)) as other,
        httpx2.AsyncClient(base_url=other.url, trust_env=False) as client,
    ):
        after = await client.get("/openapi.json")

    assert gateway.port != other.port
    assert after.headers["etag"] != before


@pytest.mark.parametrize("host", ["::1", "::"])
async def test_the_gateway_can_listen_on_ipv6(replica: Replica, host: str) -> None:
    async with (
        running_gateway(settings_for(replica.url), InMemoryBuckets(), host=host) as gateway,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        named = ["[::1]", "127.0.0.1"] if host == "::" else ["[::1]"]
        statuses = {(await client.get(f"http://{name}:{gateway.port}/health/live")).status_code for name in named}

    assert statuses == {200}


async def test_a_service_is_told_the_address_of_an_ipv6_client(replica: Replica) -> None:
    async with (
        running_gateway(settings_for(replica.url), host="::1") as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        await client.post("/auth/login", json={})

    assert replica.asked[-1].headers["x-client-address"] == "::1"


async def test_the_rate_of_an_ipv6_network_is_shared_by_its_addresses(replica: Replica) -> None:
    settings = settings_for(replica.url, trusted_proxies="127.0.0.1", anonymous_rate=0.001, anonymous_burst=4)
    async with (
        running_gateway(settings) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        one_network = [f"[2001:db8:0:1::{number:x}]:4711" for number in range(6)]
        replies = [
            await client.post("/auth/login", json={}, headers={"X-Forwarded-For": address}) for address in one_network
        ]
        other = await client.post("/auth/login", json={}, headers={"X-Forwarded-For": "2001:db8:0:2::1"})

    assert [reply.status_code for reply in replies].count(429) == 2
    assert other.status_code == 200
