"""The API process: takes tasks in and shows them; it runs none of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from shared.background import start_all
from shared.cursors import Cursors
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.postgres import Postgres
from shared.service import Service, create_app
from task_worker.clients.quota import AuthQuota
from task_worker.domain.submission import Submission
from task_worker.routes import bodies, internal, tasks
from task_worker.routes.internal import KeptEvents
from task_worker.routes.submissions import UploadLimit
from task_worker.settings import TaskSettings
from task_worker.store.delivery import PostgresDelivery
from task_worker.store.tasks import PostgresTasks


@dataclass(frozen=True, slots=True)
class TaskParts:
    """What the routes are made of."""

    submission: Submission
    kept_events: KeptEvents
    cursors: Cursors
    upload_limit: UploadLimit


def make_app(settings: TaskSettings) -> Service:
    """The application under these settings."""
    postgres = Postgres(settings, capability="tasks")
    signer = IdentitySigner(settings.identity_key, settings.service)
    auth = ServiceClient("auth-service", settings.auth_service_url, signer, capability="tasks")

    parts = TaskParts(
        submission=Submission(PostgresTasks(postgres), AuthQuota(auth)),
        kept_events=PostgresDelivery(postgres),
        cursors=Cursors(settings.cursor_key.get_secret_value().encode()),
        upload_limit=UploadLimit(int(settings.upload_limit)),
    )

    @asynccontextmanager
    async def lifespan(_app: Service) -> AsyncIterator[TaskParts]:
        async with AsyncExitStack() as stack:
            await start_all(stack, postgres, auth)
            yield parts

    app = create_app(
        settings,
        lifespan=lifespan,
        routers=(tasks.router, internal.router),
        databases=lambda: {"postgresql": postgres.status},
        clock_skew=lambda: postgres.clock.skew_ms,
        description="Background analysis and research.",
    )
    _describe(app)
    return app


def _describe(app: Service) -> None:
    """Add the body that stands in the document by name only, since its routes read by hand."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        document = original()
        schemas = document["components"]["schemas"]
        schemas[bodies.TaskIn.__name__] = bodies.TaskIn.model_json_schema()
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of extending it
