import threading
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel

from shared import bodies
from shared.bodies import MAX_DEPTH, StrictRoute, parse_json
from shared.errors import InvalidRequest, MalformedRequest
from shared.problems import install


def test_plain_json_is_read_as_it_is() -> None:
    assert parse_json(b'{"message": "caf\xc3\xa9 [\\"{", "n": [1, 2.5, null, true]}') == {
        "message": 'café ["{',
        "n": [1, 2.5, None, True],
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"message":NaN}',
        b'{"message":-Infinity}',
        b'{"message":1e999}',
        b'{"n":123456789012345678901234567890}',
        b'{"a":1,"a":2}',
        b"\xff\xfe",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"",
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_json(raw)


@pytest.mark.parametrize(("raw", "says"), [(b"\x1f\x8b\x08", "gzip"), ('{"a":"ä"}'.encode("latin-1"), "UTF-8")])
def test_a_body_that_is_something_else_is_called_by_its_name(raw: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        parse_json(raw)


async def test_a_large_body_is_parsed_beside_the_loop() -> None:
    router = APIRouter(route_class=StrictRoute)
    threads: set[int] = set()

    class Noticed(BaseModel):
        texts: list[str]

    @router.post("/echo")
    async def echo(body: Noticed) -> int:
        return len(body.texts)

    app = FastAPI()
    app.include_router(router)
    install(app)
    parse = bodies.parse_json
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "parse_json", lambda raw: threads.add(threading.get_ident()) or parse(raw))  # type: ignore[func-returns-value]  # notes where
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://here") as client:
            small = await client.post("/echo", json={"texts": ["x"]})
            assert threads == {threading.get_ident()}
            threads.clear()
            large = await client.post("/echo", json={"texts": ["x" * 1_000] * 600})

    assert (small.json(), large.json()) == (1, 600)
    assert threads
    assert threading.get_ident() not in threads


def test_brackets_inside_strings_are_not_depth() -> None:
    assert parse_json(b'{"message": "' + b"[" * 100 + b'"}') == {"message": "[" * 100}


def test_a_lone_surrogate_is_a_bad_value() -> None:
    with pytest.raises(InvalidRequest):
        parse_json(b'{"message":"\\ud800"}')


def test_a_surrogate_pair_is_text() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"message":"hello"}', "application/json", 200),
        (b'{"message":"\\ud800"}', "application/json", 422),
        (b'{"message":NaN}', "application/json", 400),
        (b'{"message":"hello"}', "text/plain", 415),
        (b'{"message":"hello"}', None, 415),
        (b"", None, 200),
    ],
)
async def test_a_strict_route_refuses_each_kind_of_bad_body_with_its_own_status(
    content: bytes, media_type: str | None, status: int
) -> None:
    app = FastAPI()
    router = APIRouter(route_class=StrictRoute)

    @router.post("/echo")
    async def echo(body: dict[str, str] | None = None) -> dict[str, str]:
        return body or {}

    app.include_router(router)
    install(app)
    headers = {"Content-Type": media_type} if media_type else {}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        reply = await client.post("/echo", content=content, headers=headers)

    assert reply.status_code == status


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=1", 200),
        ("limit=1&limit=1", 422),
        ("limit=1&limit=2&cursor=x", 422),
        ("tag=a&tag=b", 200),
        ("unknown=1&unknown=2", 200),
    ],
)
async def test_a_query_parameter_that_is_one_value_is_given_once(query: str, status: int) -> None:
    router = APIRouter(route_class=StrictRoute)

    @router.get("/things")
    async def list_things(tag: Annotated[list[str] | None, Query()] = None, limit: int = 20) -> int:
        return limit + len(tag or ())

    app = FastAPI()
    install(app)
    app.include_router(router)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        reply = await client.get(f"/things?{query}")

    assert reply.status_code == status
    if status == 422:
        assert [error["field"] for error in reply.json()["errors"]] == ["limit"]
