import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import httpx2
import pytest
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, SecretStr

from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal, internal_caller
from shared.contracts import PublicRequest
from shared.errors import QuotaExceeded
from shared.operations import MAX_BODY, RawResponse
from shared.parts import Part, UnusableRoute
from shared.service import Service, create_app
from shared.settings import ServiceSettings
from shared.testing import KEY, running, somebody


class Settings(ServiceSettings):
    service: ClassVar[str] = "thing-service"


class Thing(PublicRequest):
    name: Annotated[str, Field(max_length=8)]


class Greeter:
    def greet(self, name: str) -> bytes:
        if name == "spent":
            raise QuotaExceeded(retry_after=9)
        if name == "broken":
            raise RuntimeError("a secret detail")
        return b'"Good day, %s."' % name.encode()


@dataclass(frozen=True, slots=True)
class ThingParts:
    greeter: Greeter


router = APIRouter(route_class=StrictRoute)


@router.post("/greet", response_model=str)
async def greet(request: Request, body: Thing, principal: CurrentPrincipal, greeter: Part[Greeter]) -> Response:
    """Greet somebody."""
    seen = (b"seen", f"{principal.role} {request.headers['accept']}".encode())
    return RawResponse(greeter.greet(body.name), b"application/json", seen)


def service(*, hot: APIRouter | None = None, cold: APIRouter | None = None, **options: object) -> Service:
    @asynccontextmanager
    async def lifespan(_app: Service) -> AsyncIterator[ThingParts]:
        yield ThingParts(Greeter())

    settings = Settings(port=1, internal_identity_key=SecretStr(KEY.decode()), **options)  # type: ignore[arg-type]
    return create_app(
        settings,
        lifespan=lifespan,
        routers=[cold] if cold else [],
        operations=[hot] if hot else [],
        databases=dict,
    )


JSON = {"content-type": "application/json"}
REQUESTS: dict[str, Callable[[httpx2.AsyncClient], "httpx2.Request"]] = {
    "right": lambda client: client.build_request("POST", "/greet", json={"name": "Ada"}),
    "not JSON": lambda client: client.build_request("POST", "/greet", content=b"{", headers=JSON),
    "two keys": lambda client: client.build_request("POST", "/greet", content=b'{"name":"a","name":"b"}', headers=JSON),
    "another type": lambda client: client.build_request("POST", "/greet", content=b"name=Ada"),
    "too long a name": lambda client: client.build_request("POST", "/greet", json={"name": "x" * 9}),
    "an unknown field": lambda client: client.build_request("POST", "/greet", json={"name": "Ada", "nme": 1}),
    "refused": lambda client: client.build_request("POST", "/greet", json={"name": "spent"}),
    "failed": lambda client: client.build_request("POST", "/greet", json={"name": "broken"}),
    "another method": lambda client: client.build_request("GET", "/greet"),
    "another path": lambda client: client.build_request("POST", "/greet/"),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_an_operation_answers_as_the_same_route_behind_fastapi_does(kind: str) -> None:
    replies = []
    for app in (service(hot=router), service(cold=router)):
        async with running(app, "thing-service", somebody()) as client:
            request = REQUESTS[kind](client)
            request.headers["x-request-id"] = "one"
            replies.append(await client.send(request))

    hot, cold = replies
    assert hot.status_code == cold.status_code
    assert hot.content == cold.content
    assert sorted(hot.headers.multi_items()) == sorted(cold.headers.multi_items())


async def test_an_operation_never_reaches_the_layers_of_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    app = service(hot=router)

    async with running(app, "thing-service", somebody("admin")) as client:
        monkeypatch.setattr(app, "middleware_stack", None)
        monkeypatch.setattr(app, "build_middleware_stack", lambda: pytest.fail("it went through the layers"))
        reply = await client.post("/greet", json={"name": "Ada"}, headers={"accept": "x/y"})

    assert reply.json() == "Good day, Ada."
    assert reply.headers["seen"] == "admin x/y"


async def test_an_operation_is_counted_and_documented_under_its_route() -> None:
    app = service(hot=router)

    async with running(app, "thing-service", somebody()) as client:
        await client.post("/greet", json={"name": "Ada"})
        metrics = (await client.get("/internal/metrics")).text

    assert 'route="/greet"' in metrics
    assert app.openapi()["paths"]["/greet"]["post"]["summary"] == "Greet"


async def test_an_operation_needs_an_identity_made_for_its_service() -> None:
    async with running(service(hot=router), "another-service", somebody()) as client:
        assert (await client.post("/greet", json={"name": "Ada"})).status_code == 401


async def test_an_operation_counts_as_work_in_flight() -> None:
    begun, done = asyncio.Event(), asyncio.Event()
    waiting = APIRouter()

    @waiting.post("/wait")
    async def wait() -> Response:
        begun.set()
        await done.wait()
        return RawResponse(b"{}", b"application/json")

    async with running(service(hot=waiting, max_in_flight=1), "thing-service", somebody()) as client:
        first = asyncio.create_task(client.post("/wait"))
        await begun.wait()
        second = await client.post("/wait")
        done.set()

        assert (second.status_code, second.json()["code"]) == (503, "overloaded")
        assert (await first).status_code == 200


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async with running(service(hot=router), "thing-service", somebody()) as client:
        reply = await client.post("/greet", content=b" " * (MAX_BODY + 1), headers=JSON)

    assert reply.status_code == 413


async def test_what_guards_a_router_guards_its_operations() -> None:
    guarded = APIRouter(dependencies=[Depends(internal_caller)])

    @guarded.post("/inside")
    async def inside(body: Thing) -> Response:
        return RawResponse(body.name.encode(), b"text/plain")

    async with running(service(hot=guarded), "thing-service", somebody()) as client:
        assert (await client.post("/inside", json={"name": "Ada"})).status_code == 403


async def slow(request: Request, name: str) -> str:
    return name + str(request)


async def with_a_path(body: Thing) -> Response:
    return RawResponse(body.name.encode(), b"text/plain")


async def without_a_response(body: Thing) -> str:
    return body.name


async def with_a_query(name: str) -> Response:
    return RawResponse(name.encode(), b"text/plain")


async def with_a_dependency_that_asks_for_more(name: Annotated[str, Depends(slow)]) -> Response:
    return RawResponse(name.encode(), b"text/plain")


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/{name}", with_a_path),
        ("/x", without_a_response),
        ("/x", with_a_query),
        ("/x", with_a_dependency_that_asks_for_more),
    ],
)
async def test_a_route_that_cannot_be_an_operation_does_not_start(path: str, endpoint: Callable[..., object]) -> None:
    unfit = APIRouter()
    unfit.add_api_route(path, endpoint, methods=["POST"], response_model=None)
    app = service(hot=unfit)

    with pytest.raises(UnusableRoute):
        async with running(app, "thing-service"):
            pytest.fail("it started")
