"""The defaults of a service: an application with problems, health, identity, metrics and logs, and how to run it."""

import asyncio
import inspect
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from fastapi.routing import APIRoute
from prometheus_client import generate_latest
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared import __version__, logs, problems
from shared.contracts.health import ServiceHealth
from shared.degradation import EngineStatus
from shared.edge import Edge
from shared.identity import IdentityVerifier
from shared.metrics import RequestMetrics
from shared.operations import Operation
from shared.parts import PartOf, Parts, UnusableRoute, calls
from shared.settings import ServiceSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Lifespan = Callable[["Service"], AbstractAsyncContextManager["DataclassInstance"]]
Databases = Callable[[], Mapping[str, EngineStatus]]
ClockSkew = Callable[[], int | None]


class Service(FastAPI):
    """A service's application, with what its server and its routes need of it."""

    parts: Parts
    """What the routes are made of, from the start on."""

    def __init__(self, settings: ServiceSettings, lifespan: Lifespan, description: str) -> None:
        @asynccontextmanager
        async def started(_: FastAPI) -> AsyncIterator[None]:
            async with lifespan(self) as made:
                self.assemble(made)
                yield

        super().__init__(
            title=settings.service,
            version=__version__,
            description=description,
            lifespan=started,
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
        )
        self.draining = asyncio.Event()
        """Set when the process is asked to end, before it waits for what still runs."""
        self.metrics = RequestMetrics(settings.service)
        self._operations: dict[tuple[str, str], ASGIApp] = {}
        self._edge = Edge(
            self._layers,
            operations=self._operations,
            identity=IdentityVerifier(settings.identity_key, settings.service),
            metrics=self.metrics,
            max_in_flight=settings.max_in_flight,
        )
        self._hot: list[APIRoute] = []
        self._endpoints: list[Callable[..., Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        scope["app"] = self
        await self._edge(scope, receive, send)

    async def _layers(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's layers without the outermost, which answers to unexpected errors: the edge does, as problems."""
        stack = super().build_middleware_stack()
        return stack.app if isinstance(stack, ServerErrorMiddleware) else stack

    def add_routers(self, routers: Iterable[APIRouter], operations: Iterable[APIRouter]) -> None:
        """Serve these routes; what they need has to be among the parts."""
        hot = tuple(operations)
        for router in (*routers, *hot):
            self.include_router(router)
            for route in _routes(router):
                self._endpoints.append(route.endpoint)
                self._endpoints += [each.dependency for each in route.dependencies if each.dependency]
        self._hot = list(chain.from_iterable(_routes(router) for router in hot))

    def assemble(self, made: "DataclassInstance") -> None:
        """Give the routes their parts; raises UnusableRoute for a route that could not work, or would be slow."""
        self.parts = Parts(made)
        for call in chain.from_iterable(calls(endpoint) for endpoint in self._endpoints):
            if isinstance(call, PartOf):
                if call.kind not in self.parts:
                    raise UnusableRoute(f"{call.kind!r} is needed, but no part of {self.title}.")
            elif not inspect.iscoroutinefunction(call):
                raise UnusableRoute(f"{call!r} is no coroutine: FastAPI would send it through a thread.")
        for route in self._hot:
            operation = Operation(route, self.parts)
            self._operations |= {(method, route.path): operation for method in route.methods or ()}


def _routes(router: APIRouter) -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]


def create_app(
    settings: ServiceSettings,
    *,
    lifespan: Lifespan,
    routers: Iterable[APIRouter],
    operations: Iterable[APIRouter] = (),
    databases: Databases,
    clock_skew: ClockSkew = lambda: None,
    description: str = "",
) -> Service:
    """A service's application: `lifespan` makes its parts, `routers` has its paths, `databases` is for its own health.

    `operations` has the paths that are served in front of FastAPI's layers (see `shared.operations`).
    `clock_skew`: milliseconds by which the clock here is ahead of an engine's, for health and metrics.
    Call `app.add_middleware` only with pure ASGI middleware: BaseHTTPMiddleware costs ten times as much.
    """
    app = Service(settings, lifespan, description)
    app.metrics.watch_clock(clock_skew)
    problems.install(app)
    app.include_router(_health(settings.service, databases, clock_skew, app.metrics))
    app.add_routers(routers, operations)
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


def serve(app: Service, settings: ServiceSettings, **overrides: Any) -> None:  # noqa: ANN401 - uvicorn's own options
    """Run a service until SIGTERM: stop accepting, finish what runs, leave."""
    logs.configure(settings.service, settings.log_level)
    signal.signal(signal.SIGTERM, _leave)
    if settings.metrics_port is not None:
        app.metrics.serve(settings.host, settings.metrics_port)
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
    _Server(uvicorn.Config(app, **(options | overrides)), app.draining).run()
