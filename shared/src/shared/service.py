"""The defaults of a service: an application with problems, health, identity, metrics and logs, and how to run it."""

import asyncio
import functools
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import generate_latest
from starlette.routing import BaseRoute
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared import __version__, logs, problems
from shared.contracts.health import EngineStatus, ServiceHealth
from shared.edge import Edge
from shared.identity import IdentityVerifier
from shared.metrics import RequestMetrics
from shared.settings import ServiceSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Databases = Callable[[], Mapping[str, EngineStatus]]
ClockSkew = Callable[[], int | None]


def create_app(
    settings: ServiceSettings,
    *,
    lifespan: Lifespan,
    routers: Iterable[APIRouter],
    databases: Databases,
    clock_skew: ClockSkew = lambda: None,
    routes: Iterable[BaseRoute] = (),
    description: str = "",
) -> FastAPI:
    """A service's application: `routers` with its paths, `routes` for plain ones, `databases` for its own health.

    `clock_skew`: milliseconds by which the clock here is ahead of an engine's, for health and metrics.
    `app.state.front` is what a server runs instead, when there is one: an application in front of this one, within an
    edge (`app.state.edge(...)`) of its own.
    `app.state.draining` is set when the process is asked to end, before it waits for what still runs.
    Call `app.add_middleware` only with pure ASGI middleware: BaseHTTPMiddleware costs ten times as much.
    """
    metrics = RequestMetrics(settings.service)
    metrics.watch_clock(clock_skew)
    app = FastAPI(
        title=settings.service,
        version=__version__,
        description=description,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    app.include_router(_health(settings.service, databases, clock_skew, metrics))
    for router in routers:
        app.include_router(router)
    app.router.routes.extend(routes)
    app.state.metrics = metrics
    app.state.settings = settings
    app.state.draining = asyncio.Event()
    app.state.edge = functools.partial(
        Edge,
        identity=IdentityVerifier(settings.identity_key, settings.service),
        metrics=metrics,
        max_in_flight=settings.max_in_flight,
    )
    app.add_middleware(app.state.edge)
    return app


def _health(service: str, databases: Databases, clock_skew: ClockSkew, metrics: RequestMetrics) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/internal/health")
    async def health() -> ServiceHealth:
        return ServiceHealth(
            service=service, version=__version__, databases=dict(databases()), clock_skew_ms=clock_skew()
        )

    @router.get("/internal/metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    return router


class _OneWrite:
    """A transport that sends together what is written in one turn of the loop.

    uvicorn writes head and body of a reply apart: two system calls here, and often two to read them at the other end.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with the rest of this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close when everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol over such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", _OneWrite(transport, self.loop)))


class _Server(uvicorn.Server):
    """uvicorn, telling the application that it drains while requests still run."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._draining = draining

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._draining.set()
        await super().shutdown(sockets)


def _leave(*_: object) -> None:
    """Uvicorn raises the signal again once it has shut down: a service that was asked to end has ended well."""
    raise SystemExit(0)


def serve(app: FastAPI, settings: ServiceSettings, **overrides: Any) -> None:  # noqa: ANN401 - uvicorn's own options
    """Run a service until SIGTERM: stop accepting, finish what runs, leave."""
    logs.configure(settings.service, settings.log_level)
    signal.signal(signal.SIGTERM, _leave)
    if settings.metrics_port is not None:
        app.state.metrics.serve(settings.host, settings.metrics_port)
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": _Protocol,
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": int(settings.drain.total_seconds()),
    }
    front = getattr(app.state, "front", app)
    _Server(uvicorn.Config(front, **(options | overrides)), app.state.draining).run()
