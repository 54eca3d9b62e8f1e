"""For tests of the services: identities, and an application under its own lifespan over ASGITransport."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI

from shared.identity import IdentitySigner
from shared.ids import new_id
from shared.principal import Principal

KEY = b"a key for tests only, never used outside them"


def somebody(role: str = "owner", plan: str = "free", organization_id: str | None = None) -> Principal:
    """A person of a new organization, or of the one given."""
    return Principal(str(new_id()), organization_id or str(new_id()), role, plan, str(new_id()))


def identity_headers(service: str, principal: Principal | None, issuer: str = "gateway") -> dict[str, str]:
    """The headers with which `issuer` calls `service` for `principal`."""
    return {"X-Internal-Identity": IdentitySigner(KEY, issuer).sign(service, principal).decode()}


@asynccontextmanager
async def running(app: FastAPI, service: str, principal: Principal | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """The application between startup and shutdown, as a client that speaks for `principal`."""
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(getattr(app.state, "front", app)),
            base_url="http://service",
            headers=identity_headers(service, principal),
        ) as client,
    ):
        yield client
