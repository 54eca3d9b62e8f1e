"""Limits on requests, spoken over raw sockets: every refusal is a problem document that echoes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest

from gateway.server import protocol
from gateway.testing import Replica, RunningGateway, TokenMint


@dataclass
class Raw:
    """A connection on which bytes are sent as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> "Said":
        self.writer.write(data)
        return await self.hear()

    async def hear(self) -> "Said":
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Said(int(lines[0].split(" ")[1]), headers, body)

    async def is_closed(self, within: float = 5) -> bool:
        async with asyncio.timeout(within):
            return await self.reader.read(1) == b""


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    def is_problem(self, status: int, code: str) -> bool:
        found = json.loads(self.body)
        assert (self.status, found["code"]) == (status, code), (self.status, found)
        return self.headers["content-type"] == "application/problem+json" and bool(found["request_id"])


@pytest.fixture
async def raw(gateway: RunningGateway) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    yield Raw(reader, writer)
    writer.close()


@pytest.mark.parametrize(
    "hosts",
    [[], ["a.example", "a.example"], ["a b"], ["evil\x01.example"], [""], ["user@host"], ["host/path"], ["[::1"]],
)
async def test_exactly_one_valid_host_is_needed(raw: Raw, hosts: list[str]) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)

    said = await raw.say(f"GET /health HTTP/1.1\r\n{lines}\r\n".encode())

    assert said.status == 400
    assert json.loads(said.body)["code"] in ("invalid_host", "malformed_request")
    assert await raw.is_closed()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "api.example.com."])
async def test_every_valid_host_is_taken(raw: Raw, host: str) -> None:
    said = await raw.say(f"GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert said.status == 200


async def test_headers_over_16_kib_are_431_before_they_end(raw: Raw) -> None:
    said = await raw.say(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 17_000)

    assert said.is_problem(431, "headers_too_large")
    assert await raw.is_closed()


async def test_complete_headers_over_16_kib_are_431(raw: Raw) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 1000) for i in range(17))

    said = await raw.say(b"GET /health HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")

    assert said.is_problem(431, "headers_too_large")


async def test_64_fields_are_taken_and_65_are_431(gateway: RunningGateway) -> None:
    for count, status in ((63, 200), (64, 431)):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        lines = b"".join(b"X-%d: x\r\n" % i for i in range(count))
        said = await Raw(reader, writer).say(b"GET /health/live HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
        writer.close()

        assert said.status == status


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
async def test_a_body_that_two_parties_could_read_differently_is_refused(
    raw: Raw, replica: Replica, mint: TokenMint, framing: bytes
) -> None:
    head = b"POST /chat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer "

    said = await raw.say(head + mint.token().encode() + b"\r\n" + framing + b"\r\n{}{}GET /health HTTP/1.1\r\n\r\n")

    assert said.is_problem(400, "malformed_request")
    assert await raw.is_closed()
    assert replica.asked == []


@pytest.mark.parametrize(
    "target",
    [
        b"http://other.example/health",
        b"*",
        b"/health\\..",
        b"/a%zz",
        b"/caf\xc3\xa9",
        b"/health?q=\xff",
        b"/health#x",
        b"/health?a#b",
    ],
)
async def test_a_target_that_is_not_a_plain_path_is_400(raw: Raw, target: bytes) -> None:
    said = await raw.say(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")

    assert said.status == 400
    assert json.loads(said.body)["code"] in ("invalid_target", "malformed_request")


@pytest.mark.parametrize(
    "path",
    [
        b"/auth/../chat/sessions",
        b"/chat/history/..",
        b"/chat/history/%2e%2e",
        b"/chat/history/a%2Fb",
        b"/chat/history/a%00b",
        b"/chat%2Fsessions",
        b"/%63hat/sessions",
        b"//chat/sessions",
        b"/chat//sessions",
        b"/chat/sessions/",
        b"/chat/sessions;x=1",
        b"/auth/login/../../chat/sessions",
        b"/CHAT/sessions",
    ],
)
async def test_a_path_in_disguise_matches_nothing(raw: Raw, replica: Replica, mint: TokenMint, path: bytes) -> None:
    token = mint.token().encode()

    said = await raw.say(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n")

    assert said.is_problem(404, "not_found")
    assert replica.asked == []


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"NONSENSE / HTTP/1.1\r\n\r\n", b"\r\n\r\nhello\r\n"])
async def test_what_is_not_http_is_400_and_closed(raw: Raw, junk: bytes) -> None:
    said = await raw.say(junk)

    assert said.is_problem(400, "malformed_request")
    assert await raw.is_closed()


async def test_a_body_over_its_limit_is_413_before_it_comes(raw: Raw, replica: Replica, mint: TokenMint) -> None:
    head = b"POST /chat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n"

    said = await raw.say(head + b"Authorization: Bearer " + mint.token().encode() + b"\r\n\r\n")

    assert said.is_problem(413, "body_too_large")
    assert replica.asked == []


async def test_a_chunked_body_over_its_limit_is_413_while_it_comes(
    client: httpx2.AsyncClient, replica: Replica
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    reply = await client.post("/chat/message", content=endless(), headers={"Content-Type": "application/json"})

    assert reply.status_code == 413
    assert replica.asked == []


async def test_an_import_over_10_mib_is_413_even_when_it_hides_its_length(client: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(220):
            yield b"x" * 50_000

    reply = await client.post("/knowledge/import", content=endless(), headers={"Content-Type": "application/json"})

    assert reply.status_code == 413


@pytest.mark.parametrize(
    "media", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""]
)
async def test_another_content_type_or_none_is_415(client: httpx2.AsyncClient, media: str) -> None:
    headers = {"Content-Type": media} if media else {}

    reply = await client.post("/chat/message", content=b"{}", headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")
    assert reply.json()["detail"] == "Send the body as application/json."


@pytest.mark.parametrize("path", ["/tasks/analyze", "/knowledge/import"])
async def test_a_415_names_every_type_that_the_path_takes(client: httpx2.AsyncClient, path: str) -> None:
    reply = await client.post(path, content=b"a,b\n1,2\n", headers={"Content-Type": "text/csv"})

    assert reply.status_code == 415
    assert reply.json()["detail"] == "Send the body as application/json or multipart/form-data."


async def test_a_415_names_every_type_that_is_taken(client: httpx2.AsyncClient) -> None:
    reply = await client.post("/knowledge/import", content=b"a,b", headers={"Content-Type": "text/csv"})

    assert reply.status_code == 415
    assert reply.json()["detail"] == "Send the body as application/json or multipart/form-data."


async def test_an_expected_continue_is_granted_only_to_a_body_that_is_wanted(raw: Raw, mint: TokenMint) -> None:
    token = mint.token().encode()
    head = b"POST /chat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    head += b"Authorization: Bearer " + token + b"\r\nContent-Length: "

    granted = await raw.say(head + b"2\r\n\r\n")
    answered = await raw.say(b"{}")
    refused = await raw.say(head + b"2000000\r\n\r\n")

    assert (granted.status, answered.status, refused.status) == (100, 200, 413)


async def test_requests_sent_at_once_are_answered_in_order(raw: Raw, replica: Replica, mint: TokenMint) -> None:
    token = mint.token().encode()
    get = b"GET %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n"

    raw.writer.write(get % b"/auth/me" + get % b"/nope" + get % b"/chat/sessions")

    assert [(await raw.hear()).status for _ in range(3)] == [200, 404, 200]
    assert [asked.target for asked in replica.asked] == ["/auth/me", "/chat/sessions"]


async def test_an_upgrade_is_ignored(raw: Raw) -> None:
    said = await raw.say(
        b"GET /health/live HTTP/1.1\r\nHost: a\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
    )

    assert said.status == 200


@pytest.mark.parametrize("target", [b"http://a.example:8000/health/live", b"HTTPS://A.EXAMPLE:8000/health/live"])
async def test_an_absolute_target_of_our_own_is_served(raw: Raw, target: bytes) -> None:
    said = await raw.say(b"GET " + target + b" HTTP/1.1\r\nHost: a.example:8000\r\n\r\n")

    assert said.status == 200


async def test_a_load_balancer_may_ask_for_health_in_http_1_0_without_a_host(raw: Raw) -> None:
    said = await raw.say(b"GET /health/ready HTTP/1.0\r\n\r\n")

    assert said.status == 200


async def test_an_empty_line_before_a_request_is_overlooked(raw: Raw) -> None:
    said = await raw.say(b"\r\nGET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")

    assert said.status == 200


async def test_http_1_0_is_answered_and_closed(raw: Raw) -> None:
    said = await raw.say(b"GET /health/live HTTP/1.0\r\nHost: a\r\n\r\n")

    assert said.status == 200
    assert await raw.is_closed()


async def test_headers_that_take_too_long_are_408(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD", 0.2)

    said = await raw.say(b"GET /health HTTP/1.1\r\nHo")

    assert said.is_problem(408, "request_timeout")
    assert await raw.is_closed()


async def test_a_body_that_takes_too_long_is_408(
    raw: Raw, replica: Replica, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BODY", 0.2)
    head = b"POST /chat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"

    said = await raw.say(head + b"Authorization: Bearer " + mint.token().encode() + b"\r\n\r\n{")

    assert said.is_problem(408, "request_timeout")
    assert await raw.is_closed()
    assert replica.asked == []


async def test_a_silent_connection_is_closed(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "IDLE", 0.2)
    fresh = Raw(*await asyncio.open_connection("127.0.0.1", gateway.port))
    used = Raw(*await asyncio.open_connection("127.0.0.1", gateway.port))

    said = await used.say(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")

    assert said.status == 200
    assert await fresh.is_closed()
    assert await used.is_closed()
    fresh.writer.close()
    used.writer.close()


async def test_a_reader_that_stalls_is_cut_off(
    gateway: RunningGateway, replica: Replica, mint: TokenMint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALLED_READER", 0.3)
    sent = 0

    async def says_forever(_asked: object, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    replica.answer = says_forever
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
    token = mint.token().encode()
    writer.write(b"GET /notifications/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n")

    await asyncio.sleep(2.5)
    stopped_at = sent
    await asyncio.sleep(0.3)

    assert sent == stopped_at
    assert sent < 20_000_000
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(30_000_000)
    writer.close()
