from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import orjson
import pytest
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError

from shared import problems
from shared.bodies import StrictRoute
from shared.contracts import PublicRequest
from shared.errors import (
    CapabilityUnavailable,
    FieldError,
    NotFound,
    QuotaExceeded,
    ServiceError,
    UpstreamFailed,
    from_problem,
)
from shared.service import Service, create_app
from shared.settings import ServiceSettings
from shared.testing import KEY, running, somebody


class Settings(ServiceSettings):
    service: ClassVar[str] = "thing-service"


class Body(PublicRequest):
    password: Annotated[str, Field(min_length=8)]
    times: int = 1


@dataclass(frozen=True, slots=True)
class NoParts:
    pass


@asynccontextmanager
async def lifespan(_app: Service) -> AsyncIterator[NoParts]:
    yield NoParts()


def app() -> Service:
    router = APIRouter(route_class=StrictRoute)

    @router.post("/things")
    async def make(body: Body) -> dict[str, int]:
        return {"length": len(body.password)}

    @router.get("/gone")
    async def gone() -> None:
        raise NotFound

    @router.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret detail")

    @router.get("/away")
    async def away() -> None:
        raise CapabilityUnavailable(capability="accounts")

    settings = Settings(port=1, internal_identity_key=SecretStr(KEY.decode()))
    return create_app(settings, lifespan=lifespan, routers=[router], databases=dict)


@pytest.mark.parametrize(
    "error",
    [
        QuotaExceeded(retry_after=9, resets_at="2026-12-01T00:00:00Z"),
        NotFound("No such article."),
        CapabilityUnavailable(capability="tasks"),
        ServiceError.registry["invalid_request"](errors=(FieldError("message", "too_long", "At most 4000."),)),
    ],
)
def test_an_error_keeps_its_class_and_details_across_a_hop(error: ServiceError) -> None:
    sent = orjson.loads(problems.document(error, "r1"))

    received = from_problem(error.status, sent, error.retry_after)

    assert type(received) is type(error)
    assert (received.detail, received.errors, received.extra, received.retry_after) == (
        error.detail,
        error.errors,
        error.extra,
        error.retry_after,
    )


def test_an_unknown_error_of_a_neighbour_is_an_upstream_failure() -> None:
    assert isinstance(from_problem(418, {"code": "teapot"}), UpstreamFailed)


async def test_a_refused_value_is_named_but_never_echoed() -> None:
    async with running(app(), "thing-service", somebody()) as client:
        reply = await client.post("/things", json={"password": "Sh0rt", "tims": 3})

    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert {e["field"] for e in reply.json()["errors"]} == {"password", "tims"}
    assert "Sh0rt" not in reply.text


async def test_what_nobody_expected_is_a_500_that_says_nothing() -> None:
    async with running(app(), "thing-service", somebody()) as client:
        reply = await client.get("/broken")

    assert reply.status_code == 500
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "secret" not in reply.text


async def test_a_refusal_names_the_capability_and_when_to_come_back() -> None:
    async with running(app(), "thing-service", somebody()) as client:
        reply = await client.get("/away")

    assert reply.status_code == 503
    assert reply.json()["capability"] == "accounts"
    assert int(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/nowhere", "GET", 404), ("/things", "DELETE", 405), ("/gone", "GET", 404)]
)
async def test_every_refusal_is_a_problem_document(path: str, method: str, status: int) -> None:
    async with running(app(), "thing-service", somebody()) as client:
        reply = await client.request(method, path)

    assert reply.status_code == status
    assert {"type", "title", "status", "code", "detail", "request_id"} <= set(reply.json())


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
async def test_another_content_type_is_415(content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    async with running(app(), "thing-service", somebody()) as client:
        reply = await client.post("/things", content=b'{"password":"long enough"}', headers=headers)

    assert reply.status_code == 415


async def test_only_liveness_is_open_without_an_identity() -> None:
    async with running(app(), "thing-service") as client:
        del client.headers["X-Internal-Identity"]
        live = await client.get("/health/live")
        things = await client.post("/things", json={"password": "long enough"})
        document = await client.get("/openapi.json")

    assert live.status_code == 200
    assert things.status_code == 401
    assert things.headers["www-authenticate"] == "Bearer"
    assert document.status_code == 401


async def test_a_sane_request_id_is_taken_over_and_an_odd_one_is_not() -> None:
    async with running(app(), "thing-service", somebody()) as client:
        sane = await client.get("/gone", headers={"X-Request-Id": "abc-1"})
        odd = await client.get("/gone", headers={"X-Request-Id": "a b\\n"})

    assert sane.headers["x-request-id"] == "abc-1"
    assert odd.headers["x-request-id"] != "a b\\n"


def test_a_text_that_is_too_long_is_measured_in_characters() -> None:
    class Asked(BaseModel):
        text: Annotated[str, AfterValidator(str.strip), Field(max_length=5)]
        texts: Annotated[list[str], AfterValidator(list), Field(max_length=1)] = []

    with pytest.raises(ValidationError) as refused:
        Asked(text="too long", texts=["a", "b"])
    text, _ = problems.invalid(refused.value).errors

    assert text.message == "String should have at most 5 characters"
