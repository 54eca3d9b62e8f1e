"""Workers killed with -9 every second for a minute under 300 tasks: each ends once, is told once and charged once."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

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

SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
TASKS = 5 * SECONDS
WORKERS = 3
PATIENCE = 120
"""Seconds that the last tasks may take after the last kill; a killed worker's tasks have to be taken up within 60."""
WORK = timedelta(milliseconds=400)
"""What each call of a neighbour takes, so that kills find tasks at work."""
TIMES = {"TASK_HEARTBEAT": "PT1S", "TASK_STALLED_AFTER": "PT5S", "TASK_SWEEP": "PT1S", "TASK_WORKER_CONCURRENCY": "3"}


@pytest.fixture(scope="module")
def neighbours() -> Iterator[tuple[Neighbours, str]]:
    with running_neighbours() as running:
        yield running


@pytest.fixture(scope="module")
async def environment(postgres_database: PostgresDatabase, neighbours: tuple[Neighbours, str]) -> dict[str, str]:
    """What API and workers are started with, on a migrated database of this test's own."""
    names = ("AUTH_SERVICE_URL", "CHAT_SERVICE_URL", "KNOWLEDGE_SERVICE_URL", "NOTIFICATION_SERVICE_URL")
    made = {
        "POSTGRES_HOST": postgres_database.host,
        "POSTGRES_PORT": str(postgres_database.port),
        "POSTGRES_USER": postgres_database.user,
        "POSTGRES_PASSWORD": postgres_database.password,
        "TASK_POSTGRES_DB": postgres_database.name,
        "TASK_POSTGRES_APP_USER": postgres_database.app_user,
        "TASK_POSTGRES_APP_PASSWORD": postgres_database.app_password,
        "INTERNAL_IDENTITY_KEY": KEY.decode(),
        "CURSOR_KEY": "a cursor key for tests only, never used outside",
        **dict.fromkeys(names, neighbours[1]),
        **TIMES,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.items():
            patch.setenv(name, value)
        await migrate_postgres(TaskSettings(), "task_worker")
    return made


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[tuple[httpx2.AsyncClient, Principal]]:
    """Somebody with the API process, which is not what is killed here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        app = make_app(TaskSettings())
    principal = somebody(plan="enterprise")

    async def sign(request: httpx2.Request) -> None:
        """Afresh for each request: an identity lives shorter than this test."""
        request.headers.update(identity_headers("task-worker", principal))

    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://service", event_hooks={"request": [sign]}) as made,
    ):
        yield made, principal


class Crew:
    """Worker processes; whoever is killed is replaced at once, as a supervisor does."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._log = log.open("ab")
        self._members: list[subprocess.Popen[bytes]] = []

    def hire(self) -> None:
        command = [sys.executable, "-m", "task_worker", "work"]
        worker = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)
        self._members.append(worker)

    def kill_one(self, dice: random.Random) -> None:
        """Kill -9 any of them; a replacement begins to work some moments later."""
        victim = dice.choice(self._members)
        victim.kill()
        victim.wait()
        self._members.remove(victim)
        self.hire()

    def dismiss(self) -> None:
        for worker in self._members:
            worker.kill()
            worker.wait()
        self._log.close()


@pytest.fixture
def crew(environment: dict[str, str], tmp_path: Path) -> Iterator[Crew]:
    made = Crew(environment, tmp_path / "workers.log")
    yield made
    made.dismiss()


async def submit_all(client: httpx2.AsyncClient) -> list[str]:
    """Tasks at an even pace while workers die, of both kinds."""
    made = []
    for number in range(TASKS):
        kind = ("analyze", "research")[number % 2]
        reply = await client.post(f"/tasks/{kind}", json={"description": f"volume by day {number}"})
        assert reply.status_code == 202, reply.text
        made.append(str(reply.json()["task_id"]))
        await asyncio.sleep(SECONDS / TASKS * 0.8)
    return made


async def kill_every_second(crew: Crew) -> int:
    dice = random.Random(20_261_125)
    for _ in range(SECONDS):
        await asyncio.sleep(1)
        await asyncio.to_thread(crew.kill_one, dice)
    return SECONDS


async def states(client: httpx2.AsyncClient) -> dict[str, str]:
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page = (await client.get(f"/tasks?limit=100{cursor}")).json()
        found |= {task["task_id"]: task["status"] for task in page["tasks"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def _all_succeeded(client: httpx2.AsyncClient) -> bool:
    return set((await states(client)).values()) == {"succeeded"}


async def _all_told(twins: Neighbours, principal: Principal) -> bool:
    return len(twins.accepted) >= TASKS and twins.states(principal.organization_id)["committed"] >= TASKS


async def outcomes(environment: dict[str, str], principal: Principal) -> Counter[str]:
    """How the attempts on the tasks of this person's organization ended."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        postgres = Postgres(TaskSettings(), capability="tasks")
    await postgres.start()
    async with postgres.transaction(principal.organization_id) as connection:
        rows = await connection.fetch("SELECT outcome FROM attempts")
    await postgres.close()
    return Counter(row["outcome"] for row in rows)


@pytest.mark.engines
@pytest.mark.timeout(SECONDS + PATIENCE + 90)
async def test_no_task_is_lost_or_ends_twice_while_workers_are_killed(
    client: tuple[httpx2.AsyncClient, Principal],
    crew: Crew,
    neighbours: tuple[Neighbours, str],
    environment: dict[str, str],
) -> None:
    http, principal = client
    twins = neighbours[0]
    twins.delay = WORK
    for _ in range(WORKERS):
        crew.hire()

    made, kills = await asyncio.gather(submit_all(http), kill_every_second(crew))
    left = time.monotonic()
    await eventually(lambda: _all_succeeded(http), PATIENCE)
    quiet = round(time.monotonic() - left, 1)
    await eventually(lambda: _all_told(twins, principal), PATIENCE)

    ended = await states(http)
    told = Counter(str(event.data["task_id"]) for event in twins.accepted.values())
    print(f"{len(made)} tasks, {kills} workers killed, the last task ended {quiet} s after the last kill")
    attempts = await outcomes(environment, principal)
    print(f"attempts: {dict(attempts)}")
    print(f"deliveries repeated and recognised: {sum(twins.notified.values()) - len(twins.accepted)}")
    assert ended == dict.fromkeys(made, "succeeded")
    assert told == dict.fromkeys(made, 1)
    assert twins.states(principal.organization_id) == {"committed": TASKS}
    assert attempts["succeeded"] == TASKS
    assert attempts["lost"] > 0, "no kill hit a running task: the test proves nothing"
