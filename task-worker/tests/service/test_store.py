"""What the stores promise, in memory and in PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.errors import IdempotencyConflict, IdempotencyMismatch
from shared.ids import new_id
from shared.postgres import Postgres
from shared.principal import Principal
from shared.testing import somebody
from task_worker.domain.report import Report, Section
from task_worker.domain.task import (
    AttemptSuperseded,
    Event,
    Failure,
    Key,
    NewTask,
    ResultNotStorable,
    Settling,
    SubmissionOverran,
    Upload,
)
from task_worker.store.delivery import PostgresDelivery
from task_worker.store.tasks import PostgresTasks
from task_worker.store.work import PostgresWork
from task_worker.testing import InMemoryStore

REPORT = Report("Title", "Summary.", (Section("Found", text="nothing"),))
FAILURE = Failure("too_bad", "It did not work.")
LEASE = timedelta(seconds=30)


class Stores:
    def __init__(self, tasks: Any, work: Any, delivery: Any) -> None:
        self.tasks, self.work, self.delivery = tasks, work, delivery

    async def submitted(self, principal: Principal, key: Key | None = None, upload: Upload | None = None) -> NewTask:
        new = a_submission(principal, upload)
        assert await self.tasks.claim(new, key) is None
        await self.tasks.admit(new, key)
        return new

    async def settlements_of(self, new: NewTask) -> list[str]:
        return [settling.outcome for settling in await self.due_settlements_of(new)]

    async def due_settlements_of(self, new: NewTask) -> list[Settling]:
        due = await self.delivery.claim_settlements(1_000, LEASE)
        return [settling for settling in due if settling.task_id == new.id]

    async def events_of(self, new: NewTask) -> list[Event]:
        return [e for e in await self.delivery.claim_events(1_000, LEASE) if e.data["task_id"] == str(new.id)]


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.engines)])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        store = InMemoryStore()
        return Stores(store, store, store)
    postgres: Postgres = request.getfixturevalue("postgres")
    return Stores(PostgresTasks(postgres), PostgresWork(postgres), PostgresDelivery(postgres))


@pytest.fixture
def alice() -> Principal:
    return somebody()


def a_submission(principal: Principal, upload: Upload | None = None) -> NewTask:
    return NewTask(
        new_id(), principal.organization_id, principal.user_id, "analyze", "volume", datetime.now(UTC), upload
    )


def event(new: NewTask) -> Event:
    return Event(
        f"task:{new.id}:ended",
        new.organization_id,
        new.user_id,
        "task.succeeded",
        "Ready",
        "Summary.",
        {"task_id": str(new.id), "kind": new.kind},
        datetime.now(UTC),
    )


def key(text: str = "k", fingerprint: bytes = b"body") -> Key:
    return Key("POST /tasks/analyze", text, fingerprint)


async def test_a_submitted_task_is_found_by_its_owner_alone(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)

    found = await stores.tasks.find(alice, new.id)

    assert (found.id, found.status, found.result) == (new.id, "queued", None)
    assert await stores.tasks.find(somebody(organization_id=alice.organization_id), new.id) is None
    assert await stores.tasks.find(somebody(), new.id) is None


async def test_pages_are_newest_first_and_private(stores: Stores, alice: Principal) -> None:
    made = [(await stores.submitted(alice)).id for _ in range(3)]
    await stores.submitted(somebody(organization_id=alice.organization_id))

    first = await stores.tasks.page(alice, None, 2)
    rest = await stores.tasks.page(alice, first[-1].id, 2)

    assert [task.id for task in [*first, *rest]] == sorted(made, reverse=True)


async def test_a_key_names_the_task_that_it_made(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice, key())

    assert await stores.tasks.claim(a_submission(alice), key()) == new.id
    with pytest.raises(IdempotencyMismatch):
        await stores.tasks.claim(a_submission(alice), key(fingerprint=b"other"))
    assert await stores.tasks.claim(a_submission(somebody(organization_id=alice.organization_id)), key()) is None


async def test_a_key_in_use_conflicts_until_it_is_withdrawn(stores: Stores, alice: Principal) -> None:
    first = a_submission(alice)
    await stores.tasks.claim(first, key())

    with pytest.raises(IdempotencyConflict):
        await stores.tasks.claim(a_submission(alice), key())
    await stores.tasks.withdraw(first, key(), maybe_reserved=False)

    assert await stores.tasks.claim(a_submission(alice), key()) is None


async def test_a_withdrawn_submission_is_never_admitted(stores: Stores, alice: Principal) -> None:
    new = a_submission(alice)
    await stores.tasks.claim(new, None)
    await stores.tasks.withdraw(new, None, maybe_reserved=False)

    with pytest.raises(SubmissionOverran):
        await stores.tasks.admit(new, None)


async def test_success_leaves_a_result_an_event_and_a_charge(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)
    attempt = await stores.work.begin(alice.organization_id, new.id, "w")
    await stores.work.note_progress(attempt, 40, "reading")
    halfway = await stores.tasks.find(alice, new.id)

    await stores.work.succeed(attempt, REPORT, event(new))

    done = await stores.tasks.find(alice, new.id)
    assert (halfway.status, halfway.percent, halfway.step) == ("running", 40, "reading")
    assert (done.status, done.percent, done.result["summary"]) == ("succeeded", 100, "Summary.")
    assert [e.event_id for e in await stores.events_of(new)] == [f"task:{new.id}:ended"]
    assert await stores.settlements_of(new) == ["commit"]
    assert await stores.work.begin(alice.organization_id, new.id, "w") is None


async def test_failure_leaves_its_reason_an_event_and_a_refund(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)
    attempt = await stores.work.begin(alice.organization_id, new.id, "w")

    await stores.work.fail(attempt, FAILURE, event(new))

    done = await stores.tasks.find(alice, new.id)
    assert (done.status, done.error) == ("failed", FAILURE)
    assert len(await stores.events_of(new)) == 1
    assert await stores.settlements_of(new) == ["refund"]


@pytest.mark.parametrize(
    "report",
    [
        Report("Title", "fine", (Section("Found", text="a\x00b"),)),
        Report("Title", "a\x00b", ()),
        Report("Title", "fine", (), {"extra": 2**70}),
    ],
)
async def test_what_cannot_be_stored_is_refused_and_changes_nothing(
    stores: Stores, alice: Principal, report: Report
) -> None:
    new = await stores.submitted(alice)
    attempt = await stores.work.begin(alice.organization_id, new.id, "w")

    with pytest.raises(ResultNotStorable):
        await stores.work.succeed(attempt, report, replace(event(new), body=report.summary))

    kept = await stores.tasks.find(alice, new.id)
    assert (kept.status, kept.result) == ("running", None)
    await stores.work.fail(attempt, FAILURE, event(new))
    assert await stores.settlements_of(new) == ["refund"]


@pytest.mark.parametrize("write", ["succeed", "fail", "postpone", "note_progress"])
async def test_only_the_latest_attempt_may_write(stores: Stores, alice: Principal, write: str) -> None:
    new = await stores.submitted(alice)
    old = await stores.work.begin(alice.organization_id, new.id, "frozen")
    await stores.work.begin(alice.organization_id, new.id, "other")
    writes: dict[str, Callable[[], Any]] = {
        "succeed": lambda: stores.work.succeed(old, REPORT, event(new)),
        "fail": lambda: stores.work.fail(old, FAILURE, event(new)),
        "postpone": lambda: stores.work.postpone(old, FAILURE, counts=True),
        "note_progress": lambda: stores.work.note_progress(old, 50, "late"),
    }

    with pytest.raises(AttemptSuperseded):
        await writes[write]()
    await stores.work.hand_back(old)

    kept = await stores.tasks.find(alice, new.id)
    assert (kept.status, kept.step) == ("running", "starting")
    assert await stores.events_of(new) == []


async def test_postponed_and_handed_back_tasks_run_again(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)
    await stores.work.postpone(await stores.work.begin(alice.organization_id, new.id, "w"), FAILURE, counts=True)
    await stores.work.hand_back(await stores.work.begin(alice.organization_id, new.id, "w"))

    third = await stores.work.begin(alice.organization_id, new.id, "w")

    assert (third.number, third.failures, third.lost) == (3, 1, 0)


async def test_a_cancelled_task_is_refunded_and_cannot_be_written(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)
    attempt = await stores.work.begin(alice.organization_id, new.id, "w")

    assert not await stores.tasks.cancel(somebody(organization_id=alice.organization_id), new.id)
    assert await stores.tasks.cancel(alice, new.id)

    with pytest.raises(AttemptSuperseded):
        await stores.work.succeed(attempt, REPORT, event(new))
    assert not await stores.tasks.cancel(alice, new.id)
    assert await stores.settlements_of(new) == ["refund"]


async def test_an_upload_comes_back_byte_for_byte(stores: Stores, alice: Principal) -> None:
    content = bytes(range(256)) * 8_000
    new = await stores.submitted(alice, upload=Upload("data.csv", content))
    attempt = await stores.work.begin(alice.organization_id, new.id, "w")

    read = b"".join([piece async for piece in stores.work.upload_of(attempt)])

    assert read == content
    assert attempt.upload_name == "data.csv"


async def test_a_claimed_event_is_left_to_its_relay_until_the_lease_ends(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)
    await stores.work.succeed(await stores.work.begin(alice.organization_id, new.id, "w"), REPORT, event(new))

    taken = await stores.events_of(new)
    left = await stores.events_of(new)
    await stores.delivery.delay_event(taken[0], timedelta(0))
    again = await stores.events_of(new)
    await stores.delivery.mark_delivered(again[0])
    await stores.delivery.delay_event(again[0], timedelta(0))

    assert (len(taken), left, len(again), again[0].tries) == (1, [], 1, 2)
    assert await stores.events_of(new) == []


async def test_a_claimed_settlement_is_left_to_its_relay_until_the_lease_ends(stores: Stores, alice: Principal) -> None:
    new = await stores.submitted(alice)
    await stores.tasks.cancel(alice, new.id)

    taken = await stores.due_settlements_of(new)
    left = await stores.due_settlements_of(new)
    await stores.delivery.delay_settlement(taken[0], timedelta(0))
    again = await stores.due_settlements_of(new)
    await stores.delivery.mark_settled(again[0])
    await stores.delivery.delay_settlement(again[0], timedelta(0))

    assert (len(taken), left, len(again), again[0].tries) == (1, [], 1, 2)
    assert await stores.due_settlements_of(new) == []


async def test_nothing_is_refunded_while_its_submission_is_in_time(stores: Stores, alice: Principal) -> None:
    new = a_submission(alice)
    await stores.tasks.claim(new, None)

    assert await stores.settlements_of(new) == []
    await stores.tasks.admit(new, None)
    assert await stores.settlements_of(new) == []


@pytest.mark.engines
async def test_a_refund_that_became_due_stops_a_late_admission(postgres: Postgres, alice: Principal) -> None:
    stores = Stores(PostgresTasks(postgres), PostgresWork(postgres), PostgresDelivery(postgres))
    new = a_submission(alice)
    await stores.tasks.claim(new, None)
    async with postgres.transaction(alice.organization_id) as connection:
        await connection.execute(
            "UPDATE settlements SET due_at = now() WHERE organization_id = $1 AND task_id = $2",
            alice.organization_id,
            new.id,
        )

    assert await stores.settlements_of(new) == ["refund"]
    with pytest.raises(SubmissionOverran):
        await stores.tasks.admit(new, None)


@pytest.mark.engines
async def test_the_database_shows_an_organization_its_own_rows_alone(postgres: Postgres, alice: Principal) -> None:
    await Stores(PostgresTasks(postgres), None, None).submitted(alice)
    count = "SELECT count(*) FROM tasks"

    async with postgres.transaction() as connection:
        assert await connection.fetchval(count) == 0
    async with postgres.transaction(somebody().organization_id) as connection:
        assert await connection.fetchval(count) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO upload_chunks VALUES ($1, $2, 0, 'x')", alice.organization_id, new_id()
            )
    async with postgres.transaction(alice.organization_id) as connection:
        assert await connection.fetchval(count) == 1
