"""What becomes of a task whose worker dies, stops, freezes or loses a neighbour: real processes, real signals."""

import asyncio
import signal
from datetime import timedelta
from typing import Any

from shared.postgres import Postgres
from shared.testing import eventually

ATTEMPTS = "SELECT number, outcome FROM attempts WHERE organization_id = $1 AND task_id = $2::uuid ORDER BY number"
TOKEN = "SELECT attempt FROM tasks WHERE organization_id = $1 AND id = $2::uuid"


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
