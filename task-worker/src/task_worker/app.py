"""The API process: takes tasks in and shows them; it runs none of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from shared.background import start_all
from shared.cursors import Cursors
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.postgres import Postgres
from shared.service import create_app
from task_worker.clients.quota import AuthQuota
from task_worker.domain.submission import Submission
from task_worker.routes import bodies, internal, tasks
from task_worker.settings import TaskSettings
from task_worker.store.delivery import PostgresDelivery
from task_worker.store.tasks import PostgresTasks


def make_app(settings: TaskSettings) -> FastAPI:
    """The application under these settings."""
    postgres = Postgres(settings, capability="tasks")
    signer = IdentitySigner(settings.identity_key, settings.service)
    auth = ServiceClient("auth-service", settings.auth_service_url, signer, capability="tasks")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await start_all(stack, postgres, auth)
            yield

    app = create_app(
        settings,
        lifespan=lifespan,
        routers=(tasks.router, internal.router),
        databases=lambda: {"postgresql": postgres.status},
        clock_skew=lambda: postgres.clock.skew_ms,
        description="Background analysis and research.",
    )
    app.state.submission = Submission(PostgresTasks(postgres), AuthQuota(auth))
    app.state.kept_events = PostgresDelivery(postgres)
    app.state.cursors = Cursors(settings.cursor_key.get_secret_value().encode())
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Add the body that stands in the document by name only, since its routes read by hand."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        document = original()
        schemas = document["components"]["schemas"]
        schemas[bodies.TaskIn.__name__] = bodies.TaskIn.model_json_schema()
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of extending it
