"""Running a task: one end, whatever happens on the way."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import CapabilityUnavailable
from shared.ids import new_id
from task_worker.domain.execution import MAX_LOST, Execution, Handler, Retries
from task_worker.domain.report import Report, Section
from task_worker.domain.task import Attempt, Event, NewTask, Task, TaskImpossible
from task_worker.testing import InMemoryStore

RETRIES = Retries(timedelta(seconds=1), timedelta(seconds=8), max_failures=3, patience=timedelta(hours=1))
REPORT = Report("Title", "All is well.", (Section("Found", text="nothing"),))


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


async def submitted(store: InMemoryStore, created_at: datetime | None = None) -> Task:
    new = NewTask(new_id(), "org", "user", "analyze", "volume", created_at or datetime.now(UTC))
    await store.claim(new, None)
    return await store.admit(new, None)


def execution(store: InMemoryStore, handler: Handler, ended: Callable[[], None] = lambda: None) -> Execution:
    return Execution(store, {"analyze": handler}, RETRIES, worker="w", ended=ended)


async def reports(attempt: Attempt, progress: Any) -> Report:
    await progress(50, f"half of {attempt.description}")
    return REPORT


def raises(error: Exception) -> Handler:
    async def handler(_attempt: Attempt, _progress: Any) -> Report:
        raise error

    return handler


async def test_a_finished_task_has_its_result_one_event_and_a_charge(store: InMemoryStore) -> None:
    task = await submitted(store)
    told: list[int] = []

    wait = await execution(store, reports, lambda: told.append(1)).run_task("org", task.id)

    done = store.tasks[task.id]
    assert wait is None
    assert (done.status, done.percent, done.error) == ("succeeded", 100, None)
    assert done.result is not None
    assert [event.type for event in store.events.values()] == ["task.succeeded"]
    assert next(iter(store.events.values())).data == {"task_id": str(task.id), "kind": "analyze"}
    assert [settling.outcome for settling in await store.claim_settlements(9, timedelta(1))] == ["commit"]
    assert told == [1]


async def test_an_ended_task_is_not_run_again(store: InMemoryStore) -> None:
    task = await submitted(store)
    await execution(store, reports).run_task("org", task.id)

    assert await execution(store, raises(AssertionError())).run_task("org", task.id) is None
    assert store.attempts[task.id] == [(1, "succeeded")]


async def test_an_error_is_tried_again_a_few_times_and_then_fails_the_task_with_its_reason(
    store: InMemoryStore,
) -> None:
    task = await submitted(store)
    run = execution(store, raises(ZeroDivisionError("secret")))

    waits = [await run.run_task("org", task.id) for _ in range(3)]

    done = store.tasks[task.id]
    assert waits[2] is None
    assert all(wait is not None and wait <= timedelta(seconds=2) for wait in waits[:2])
    assert done.status == "failed"
    assert done.error is not None
    assert (done.error.code, "secret" in done.error.detail) == ("internal_error", False)
    assert [event.type for event in store.events.values()] == ["task.failed"]
    assert [settling.outcome for settling in await store.claim_settlements(9, timedelta(1))] == ["refund"]


async def test_what_cannot_be_done_fails_at_once(store: InMemoryStore) -> None:
    task = await submitted(store)

    await execution(store, raises(TaskImpossible("file_too_hard", "Too large."))).run_task("org", task.id)

    assert store.tasks[task.id].status == "failed"
    assert store.attempts[task.id] == [(1, "failed")]


async def test_a_neighbour_that_is_away_costs_patience_but_no_failures(store: InMemoryStore) -> None:
    task = await submitted(store)
    run = execution(store, raises(CapabilityUnavailable(capability="conversations")))

    waits = [await run.run_task("org", task.id) for _ in range(8)]

    assert all(wait is not None and wait <= RETRIES.cap for wait in waits)
    assert store.tasks[task.id].status == "queued"
    assert {outcome for _, outcome in store.attempts[task.id]} == {"postponed"}


async def test_patience_with_a_neighbour_ends(store: InMemoryStore) -> None:
    task = await submitted(store, datetime.now(UTC) - timedelta(hours=2))

    await execution(store, raises(CapabilityUnavailable(capability="knowledge"))).run_task("org", task.id)

    assert store.tasks[task.id].status == "failed"
    assert store.tasks[task.id].error is not None


async def test_a_task_that_kills_its_workers_is_given_up(store: InMemoryStore) -> None:
    task = await submitted(store)
    for _ in range(MAX_LOST):
        await store.begin("org", task.id, "dies")

    await execution(store, reports).run_task("org", task.id)

    error = store.tasks[task.id].error
    assert error is not None
    assert error.code == "worker_lost"


@pytest.mark.parametrize(
    "report",
    [
        Report("Title", "a\x00b", ()),
        Report("Title", "fine", (Section("Found", text="a\x00b"),)),
        Report("Title", "fine", (), {"extra": 2**70}),
        Report("Title", "fine", (), {"extra": object()}),
    ],
)
async def test_a_result_that_cannot_be_stored_fails_the_attempt_with_its_own_reason(
    store: InMemoryStore, report: Report
) -> None:
    task = await submitted(store)

    async def finds(_attempt: Attempt, _progress: Any) -> Report:
        return report

    wait = await execution(store, finds).run_task("org", task.id)

    error = store.tasks[task.id].error
    assert wait is None
    assert error is not None
    assert error.code == "result_not_storable"
    assert store.attempts[task.id] == [(1, "failed")]
    assert [settling.outcome for settling in await store.claim_settlements(9, timedelta(1))] == ["refund"]


class Forgetful(InMemoryStore):
    """A store that breaks when a result is to be kept."""

    async def succeed(self, attempt: Attempt, report: Report, event: Event) -> None:
        raise LookupError(attempt.number, report.title, event.event_id)


async def test_any_error_between_work_and_result_counts_as_a_failed_attempt_not_as_a_lost_worker() -> None:
    store = Forgetful()
    task = await submitted(store)
    run = execution(store, reports)

    waits = [await run.run_task("org", task.id) for _ in range(3)]

    assert [wait is None for wait in waits] == [False, False, True]
    assert store.attempts[task.id] == [(1, "failed"), (2, "failed"), (3, "failed")]
    error = store.tasks[task.id].error
    assert error is not None
    assert error.code == "internal_error"


async def test_a_superseded_attempt_changes_nothing(store: InMemoryStore) -> None:
    task = await submitted(store)

    async def is_overtaken(_attempt: Attempt, _progress: Any) -> Report:
        await store.begin("org", task.id, "another")
        return REPORT

    assert await execution(store, is_overtaken).run_task("org", task.id) is None
    assert store.tasks[task.id].status == "running"
    assert store.events == {}


async def test_a_cancelled_run_hands_the_task_back(store: InMemoryStore) -> None:
    task = await submitted(store)

    async def never_ends(_attempt: Attempt, _progress: Any) -> Report:
        await asyncio.Event().wait()
        return REPORT

    running = asyncio.create_task(execution(store, never_ends).run_task("org", task.id))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert store.tasks[task.id].status == "queued"
    assert store.attempts[task.id] == [(1, "handed_back")]


def test_waits_are_fully_jittered_under_a_doubling_bound() -> None:
    waits = [RETRIES.wait(number) for number in range(12) for _ in range(50)]

    assert max(waits) <= RETRIES.cap
    assert len(set(waits)) > 500
    assert all(RETRIES.wait(0) <= RETRIES.base for _ in range(50))
