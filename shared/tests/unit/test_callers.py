from typing import Annotated

import httpx2
import pytest
from fastapi import Depends, FastAPI

from shared import problems
from shared.callers import CurrentPrincipal, InternalCaller, require_role
from shared.principal import Caller, Principal
from shared.testing import somebody

Editor = Annotated[Principal, Depends(require_role("editor"))]


def client_of(caller: Caller | None) -> httpx2.AsyncClient:
    app = FastAPI()
    problems.install(app)

    @app.get("/person")
    def person(principal: CurrentPrincipal) -> str:
        return principal.user_id

    @app.get("/edit")
    def edit(principal: Editor) -> str:
        return principal.user_id

    @app.get("/internal")
    def internal(neighbour: InternalCaller) -> str:
        return neighbour.service

    async def behind_an_edge(scope, receive, send) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - ASGI
        await app(scope | {"caller": caller} if caller else scope, receive, send)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(behind_an_edge), base_url="http://service")


ADA = somebody("editor")


@pytest.mark.parametrize("path", ["/person", "/edit"])
async def test_a_route_knows_the_person_behind_a_request(path: str) -> None:
    async with client_of(Caller("gateway", ADA)) as client:
        assert (await client.get(path)).json() == ADA.user_id


@pytest.mark.parametrize("path", ["/person", "/edit"])
async def test_a_service_on_its_own_behalf_is_nobody(path: str) -> None:
    async with client_of(Caller("task-worker", None)) as client:
        assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["/person", "/edit", "/internal"])
async def test_a_request_that_no_edge_verified_is_refused(path: str) -> None:
    async with client_of(None) as client:
        assert (await client.get(path)).status_code == 401


async def test_a_role_below_the_needed_one_is_told_which_it_needs() -> None:
    async with client_of(Caller("gateway", somebody("viewer"))) as client:
        reply = await client.get("/edit")

    assert reply.status_code == 403
    assert reply.json()["detail"] == "This needs the role editor or higher."


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        (Caller("task-worker", None), 200),
        (Caller("task-worker", ADA), 200),
        (Caller("gateway", None), 200),
        (Caller("gateway", ADA), 403),
    ],
)
async def test_no_person_reaches_an_internal_route_through_the_gateway(caller: Caller, status: int) -> None:
    async with client_of(caller) as client:
        assert (await client.get("/internal")).status_code == status
