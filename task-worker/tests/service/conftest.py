import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from local_stack.engines.temporary import PostgresDatabase
from shared.migrations_postgres import migrate_postgres
from shared.postgres import Postgres
from shared.principal import Principal
from shared.testing import KEY, eventually, identity_headers, somebody
from task_worker.app import make_app
from task_worker.settings import TaskSettings
from task_worker.testing import Neighbours, running_neighbours


@pytest.fixture(scope="session")
def _running() -> Iterator[tuple[Neighbours, str]]:
    with running_neighbours() as running:
        yield running


@pytest.fixture
def neighbours(_running: tuple[Neighbours, str]) -> Iterator[Neighbours]:
    twins = _running[0]
    twins.limit, twins.away, twins.delay, twins.slow = 1_000_000, set(), timedelta(0), ""
    yield twins
    twins.away, twins.delay = set(), timedelta(0)


@pytest.fixture(scope="module")
def environment(postgres_database: PostgresDatabase, _running: tuple[Neighbours, str]) -> dict[str, str]:
    """The environment of the processes of this module: its own database, short times, the twins as neighbours."""
    url = _running[1]
    return {
        "POSTGRES_HOST": postgres_database.host,
        "POSTGRES_PORT": str(postgres_database.port),
        "POSTGRES_USER": postgres_database.user,
        "POSTGRES_PASSWORD": postgres_database.password,
        "TASK_POSTGRES_DB": postgres_database.name,
        "TASK_POSTGRES_APP_USER": postgres_database.app_user,
        "TASK_POSTGRES_APP_PASSWORD": postgres_database.app_password,
        "INTERNAL_IDENTITY_KEY": KEY.decode(),
        "CURSOR_KEY": "a cursor key for tests only, never used outside",
        "AUTH_SERVICE_URL": url,
        "CHAT_SERVICE_URL": url,
        "KNOWLEDGE_SERVICE_URL": url,
        "NOTIFICATION_SERVICE_URL": url,
        "TASK_HEARTBEAT": "PT0.5S",
        "TASK_STALLED_AFTER": "PT2S",
        "TASK_SWEEP": "PT0.5S",
        "TASK_HAND_BACK": "PT0.5S",
        "TASK_RETRY_BASE": "PT0.1S",
        "TASK_RETRY_CAP": "PT0.5S",
        "TASK_MAX_FAILURES": "3",
        "TASK_WORKER_CONCURRENCY": "2",
    }


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> TaskSettings:
    patch = pytest.MonkeyPatch()
    for name, value in environment.items():
        patch.setenv(name, value)
    made = TaskSettings()
    patch.undo()
    return made


@pytest.fixture(scope="module")
async def migrated(settings: TaskSettings) -> TaskSettings:
    await migrate_postgres(settings, "task_worker")
    return settings


@pytest.fixture
async def postgres(migrated: TaskSettings) -> AsyncIterator[Postgres]:
    pool = Postgres(migrated, capability="tasks")
    await pool.start()
    yield pool
    await pool.close()


class Person:
    """Somebody with an HTTP client of the service."""

    def __init__(self, principal: Principal, transport: httpx2.AsyncBaseTransport) -> None:
        self.principal = principal
        self.http = httpx2.AsyncClient(
            transport=transport, base_url="http://service", headers=identity_headers("task-worker", principal)
        )

    async def submit(self, kind: str = "analyze", description: str = "volume by day", **headers: str) -> str:
        reply = await self.http.post(f"/tasks/{kind}", json={"description": description}, headers=headers)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["task_id"])

    async def status(self, task_id: str) -> dict[str, Any]:
        reply = await self.http.get(f"/tasks/{task_id}/status")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async def ended(self, task_id: str, seconds: float = 20) -> dict[str, Any]:
        async def has_ended() -> dict[str, Any] | None:
            task = await self.status(task_id)
            return task if task["status"] in ("succeeded", "failed", "cancelled") else None

        return dict(await eventually(has_ended, seconds))


@pytest.fixture
async def newcomer(migrated: TaskSettings, neighbours: Neighbours) -> AsyncIterator[Callable[..., Person]]:
    """Makes people who talk to one API process."""
    app = make_app(migrated)
    people: list[Person] = []

    def make(organization_id: str | None = None) -> Person:
        neighbours.away.clear()
        people.append(Person(somebody(organization_id=organization_id), httpx2.ASGITransport(app)))
        return people[-1]

    async with app.router.lifespan_context(app):
        yield make
        for person in people:
            await person.http.aclose()


@pytest.fixture
def person(newcomer: Callable[..., Person]) -> Person:
    return newcomer()


class WorkerProcesses:
    """Real worker processes of this module's database."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, **changes: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "task_worker", "work"],
                env={**os.environ, **self._environment, **changes},
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@pytest.fixture
def workers(
    migrated: TaskSettings, environment: dict[str, str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[WorkerProcesses]:
    log = tmp_path / "workers.log"
    made = WorkerProcesses(environment, log)
    yield made
    made.stop()
    record_property("database", migrated.postgres_db)
    sys.stdout.write(log.read_text()[-6_000:] if log.exists() else "no worker was started")
