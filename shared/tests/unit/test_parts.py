from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NewType, Protocol

import pytest
from fastapi import APIRouter, Depends
from pydantic import SecretStr

from shared.parts import Part, Parts
from shared.service import Service, UnusableRoute, create_app
from shared.settings import ServiceSettings
from shared.testing import KEY, running, somebody

Limit = NewType("Limit", int)


class Settings(ServiceSettings):
    service: ClassVar[str] = "thing-service"


class Greeter(Protocol):
    def greet(self, name: str) -> str: ...


class Polite:
    def greet(self, name: str) -> str:
        return f"Good day, {name}."


class Counter:
    pass


@dataclass(frozen=True, slots=True)
class ThingParts:
    greeter: Greeter
    limit: Limit


async def shortened(limit: Part[Limit]) -> str:
    return "Ada Lovelace"[:limit]


def service(router: APIRouter, made: Any = None) -> Service:
    @asynccontextmanager
    async def lifespan(_app: Service) -> AsyncIterator[Any]:
        yield made or ThingParts(Polite(), Limit(3))

    settings = Settings(port=1, internal_identity_key=SecretStr(KEY.decode()))
    return create_app(settings, lifespan=lifespan, routers=[router], databases=dict)


async def test_a_route_is_given_the_parts_it_names_by_the_type_their_field_declares() -> None:
    router = APIRouter()

    @router.get("/greeting")
    async def greet(greeter: Part[Greeter], name: Annotated[str, Depends(shortened)]) -> str:
        return greeter.greet(name)

    async with running(service(router), "thing-service", somebody()) as client:
        assert (await client.get("/greeting")).json() == "Good day, Ada."


async def counted(counter: Part[Counter]) -> int:
    return id(counter)


def straight() -> APIRouter:
    router = APIRouter()

    @router.get("/count")
    async def count(counter: Part[Counter]) -> int:
        return id(counter)

    return router


def through_a_dependency() -> APIRouter:
    router = APIRouter()

    @router.get("/count")
    async def count(number: Annotated[int, Depends(counted)]) -> int:
        return number

    return router


def through_the_router() -> APIRouter:
    router = APIRouter(dependencies=[Depends(counted)])

    @router.get("/count")
    async def count() -> int:
        return 1

    return router


@pytest.mark.parametrize("make_router", [straight, through_a_dependency, through_the_router])
async def test_a_service_that_lacks_a_part_of_a_route_does_not_start(make_router) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - above
    app = service(make_router())

    with pytest.raises(UnusableRoute, match="Counter"):
        async with running(app, "thing-service"):
            pytest.fail("it started")


def test_two_parts_of_one_type_are_a_mistake() -> None:
    @dataclass(frozen=True, slots=True)
    class Twice:
        first: Counter
        second: Counter

    with pytest.raises(TypeError, match="two parts of the same type"):
        Parts(Twice(Counter(), Counter()))


def look_up() -> int:
    return 1


async def test_a_dependency_that_would_cost_a_thread_is_refused_at_the_start() -> None:
    router = APIRouter()

    @router.get("/number")
    async def show(number: Annotated[int, Depends(look_up)]) -> int:
        return number

    app = service(router)

    with pytest.raises(UnusableRoute, match="look_up"):
        async with running(app, "thing-service"):
            pytest.fail("it started")
