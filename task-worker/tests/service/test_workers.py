"""What becomes of a task whose worker dies, stops, freezes or loses a neighbour: real processes, real signals."""

import asyncio
import signal
from datetime import timedelta
from typing import Any

from shared.postgres import Postgres
from shared.testing import eventually
from task_worker.domain.execution import MAX_LOST

ATTEMPTS = "SELECT number, outcome FROM attempts WHERE organization_id = $1 AND task_id = $2::uuid ORDER BY number"
TOKEN = "SELECT attempt FROM tasks WHERE organization_id = $1 AND id = $2::uuid"

WORKER = "SELECT worker FROM attempts WHERE organization_id = $1 AND task_id = $2::uuid AND ended_at IS NULL"


async def attempts(postgres: Postgres, organization_id: str, task_id: str) -> list[tuple[int, str | None]]:
    async with postgres.transaction(organization_id) as connection:
        return [tuple(row) for row in await connection.fetch(ATTEMPTS, organization_id, task_id)]


async def running(person: Any, task_id: str) -> None:
    async def is_running() -> bool:
        return (await person.status(task_id))["status"] == "running"

    await eventually(is_running)


async def test_a_killed_workers_task_is_finished_by_another(
    person: Any, workers: Any, neighbours: Any, postgres: Postgres
) -> None:
    neighbours.delay = timedelta(seconds=1.5)
    victim = workers.start()
    task_id = await person.submit()
    await running(person, task_id)

    victim.kill()
    neighbours.delay = timedelta(0)
    workers.start()
    done = await person.ended(task_id)

    assert done["status"] == "succeeded"
    assert await attempts(postgres, person.principal.organization_id, task_id) == [(1, "lost"), (2, "succeeded")]


async def test_a_worker_that_is_asked_to_stop_hands_its_task_back(
    person: Any, workers: Any, neighbours: Any, postgres: Postgres
) -> None:
    neighbours.delay = timedelta(seconds=1.8)
    leaving = workers.start()
    task_id = await person.submit()
    await running(person, task_id)

    leaving.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(leaving.wait, 8) == 0
    handed_back = await person.status(task_id)
    neighbours.delay = timedelta(0)
    workers.start()
    done = await person.ended(task_id)

    assert handed_back["status"] == "queued"
    assert done["status"] == "succeeded"
    assert await attempts(postgres, person.principal.organization_id, task_id) == [(1, "handed_back"), (2, "succeeded")]


async def test_a_thawed_worker_cannot_write_its_result(
    person: Any, workers: Any, neighbours: Any, postgres: Postgres
) -> None:
    neighbours.delay = timedelta(seconds=1.5)
    frozen = workers.start()
    task_id = await person.submit()
    await running(person, task_id)

    frozen.send_signal(signal.SIGSTOP)
    workers.start()
    await eventually(lambda: _has_attempt(postgres, person, task_id, 2))
    frozen.send_signal(signal.SIGCONT)
    done = await person.ended(task_id)
    await asyncio.sleep(2)

    assert done["status"] == "succeeded"
    assert await attempts(postgres, person.principal.organization_id, task_id) == [(1, "lost"), (2, "succeeded")]
    assert neighbours.notified[f"task:{task_id}:ended"] == 1
    assert neighbours.states(person.principal.organization_id) == {"committed": 1}


async def _has_attempt(postgres: Postgres, person: Any, task_id: str, number: int) -> bool:
    async with postgres.transaction(person.principal.organization_id) as connection:
        return bool(await connection.fetchval(TOKEN, person.principal.organization_id, task_id) >= number)


async def test_a_task_waits_for_a_neighbour_that_is_away(person: Any, workers: Any, neighbours: Any) -> None:
    neighbours.away = {"chat-service"}
    workers.start()
    task_id = await person.submit()

    async def waits() -> bool:
        return "waiting to try again" in (await person.status(task_id))["progress"]["step"]

    await eventually(waits)
    neighbours.away = set()

    assert (await person.ended(task_id))["status"] == "succeeded"


async def test_a_cancelled_task_stops_and_is_refunded(
    person: Any, workers: Any, neighbours: Any, postgres: Postgres
) -> None:
    neighbours.delay = timedelta(seconds=1.5)
    workers.start()
    task_id = await person.submit()
    await running(person, task_id)

    cancelled = await person.http.post(f"/tasks/{task_id}/cancel")
    again = await person.http.post(f"/tasks/{task_id}/cancel")
    neighbours.delay = timedelta(0)
    other = await person.ended(await person.submit())
    late = await person.http.post(f"/tasks/{other['task_id']}/cancel")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert again.status_code == 200
    assert late.status_code == 409
    assert (await person.status(task_id))["status"] == "cancelled"
    organization_id = person.principal.organization_id
    assert await attempts(postgres, organization_id, task_id) == [(1, "cancelled")]

    async def settled() -> bool:
        return neighbours.states(organization_id) == {"refunded": 1, "committed": 1}

    await eventually(settled)
    assert neighbours.notified[f"task:{task_id}:ended"] == 0


async def test_what_could_not_be_delivered_is_delivered_later(person: Any, workers: Any, neighbours: Any) -> None:
    neighbours.away = {"notification-service"}
    workers.start()
    task_id = await person.submit("research", "What is a cache?")
    assert (await person.ended(task_id))["status"] == "succeeded"
    assert neighbours.notified[f"task:{task_id}:ended"] == 0

    neighbours.away = set()

    async def told() -> bool:
        return neighbours.notified[f"task:{task_id}:ended"] == 1

    await eventually(told, 12)


async def test_a_task_that_kills_each_worker_gets_five_attempts_while_others_flow(
    person: Any, workers: Any, neighbours: Any, postgres: Postgres
) -> None:
    quickly = {"TASK_STALLED_AFTER": "PT1S", "TASK_HEARTBEAT": "PT0.25S"}
    neighbours.slow = "poison"
    running_ones = {process.pid: process for process in (workers.start(**quickly), workers.start(**quickly))}
    organization_id = person.principal.organization_id
    poison = await person.submit("research", "What is a poison pill?")
    flowed = []

    for _ in range(MAX_LOST):
        pid = await eventually(lambda: _worker_of(postgres, organization_id, poison, set(running_ones)), 20)
        running_ones.pop(pid).kill()
        other = workers.start(**quickly)
        running_ones[other.pid] = other
        flowed.append(await person.ended(await person.submit("research", "What is a cache?")))

    ended = await person.ended(poison)

    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_lost")
    made = await attempts(postgres, organization_id, poison)
    assert [outcome for _, outcome in made] == ["lost"] * MAX_LOST + ["failed"]
    assert [task["status"] for task in flowed] == ["succeeded"] * MAX_LOST

    async def settled() -> bool:
        return bool(neighbours.states(organization_id) == {"refunded": 1, "committed": MAX_LOST})

    await eventually(settled)


async def _worker_of(postgres: Postgres, organization_id: str, task_id: str, alive: set[int]) -> int | None:
    """The process that has the task at the moment, if it is one of these."""
    async with postgres.transaction(organization_id) as connection:
        worker = await connection.fetchval(WORKER, organization_id, task_id)
    pid = int(worker.split(":")[1]) if worker else None
    return pid if pid in alive else None
