from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.requests import ClientDisconnect

from shared.bodies import StrictRoute, read_limited, receiving
from shared.errors import BodyTooLarge


def arriving(parts: Sequence[bytes], *, to_its_end: bool = True) -> Any:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if to_its_end:
        messages[-1]["more_body"] = False
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left, {"type": "http.disconnect"})

    return receive


def scope(announced: int | None = None) -> dict[str, Any]:
    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    return {"type": "http", "method": "POST", "path": "/", "headers": headers}


@pytest.mark.parametrize("parts", [[b"abcdef"], [b"abc", b"def"], [b"", b"abcdef", b""]])
async def test_a_body_is_read_whole_however_it_arrives(parts: list[bytes]) -> None:
    assert await read_limited(scope(), arriving(parts), 6) == b"abcdef"


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("read")

    with pytest.raises(BodyTooLarge):
        await read_limited(scope(7), receive, 6)


async def test_a_body_that_says_nothing_is_read_no_further_than_the_limit() -> None:
    receive = arriving([b"abcd"] * 100)

    with pytest.raises(BodyTooLarge):
        await read_limited(scope(), receive, 6)

    assert (await receive())["body"] == b"abcd"


async def test_a_client_that_leaves_is_told_apart_from_one_that_sends_nonsense() -> None:
    with pytest.raises(ClientDisconnect):
        await read_limited(scope(), arriving([b"abc"], to_its_end=False), 6)


async def test_what_was_read_can_be_read_again() -> None:
    assert await read_limited(scope(), receiving(b"abc"), 6) == b"abc"


async def test_a_strict_route_reads_what_arrives_in_parts() -> None:
    router = APIRouter(route_class=StrictRoute)

    @router.post("/")
    async def take(request: Request, body: dict[str, str]) -> dict[str, str]:
        return body | {"length": str(len(await request.body()))}

    app = FastAPI()
    app.include_router(router)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        reply = await client.post("/", json={"a": "b"})

    assert reply.json() == {"a": "b", "length": "9"}
