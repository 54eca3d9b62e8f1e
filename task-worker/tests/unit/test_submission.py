"""What happens when a person submits, looks at or cancels a task: over twins, without a database or a network."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import (
    CapabilityUnavailable,
    DeadlineExceeded,
    IdempotencyConflict,
    IdempotencyMismatch,
    QuotaExceeded,
    ServiceError,
    UpstreamFailed,
)
from shared.ids import new_id
from shared.principal import Principal
from shared.testing import somebody
from task_worker.domain.delivery import Delivery
from task_worker.domain.execution import Execution, Retries
from task_worker.domain.report import Report
from task_worker.domain.submission import Submission
from task_worker.domain.task import Attempt, Key, NewTask, SubmissionOverran, TaskEnded, TaskNotFound
from task_worker.testing import InMemoryNotifications, InMemoryQuota, InMemoryStore


class World:
    """A submission over twins, with what delivers and what works behind it."""

    def __init__(self, limit: int = 100) -> None:
        self.store = InMemoryStore()
        self.quota = InMemoryQuota(limit)
        self.notifications = InMemoryNotifications()
        self.submission = Submission(self.store, self.quota)
        self.delivery = Delivery(self.store, self.store, self.notifications, self.quota)
        retries = Retries(timedelta(seconds=1), timedelta(seconds=1), max_failures=1, patience=timedelta(hours=1))
        self.execution = Execution(self.store, {"analyze": works}, retries, worker="w")

    def states(self) -> list[str]:
        """The reservations, in the order of their making."""
        return list(self.quota.states.values())

    async def after_the_time_of_a_submission(self) -> None:
        """Deliver what is due once submissions that did not end are given up."""
        for task_id in self.store.due:
            self.store.due[task_id] = datetime.now(UTC)
        await self.delivery.deliver_due()


async def works(_attempt: Attempt, _progress: object) -> Report:
    return Report("Title", "Done.", ())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def alice() -> Principal:
    return somebody()


def wanted(principal: Principal, description: str = "volume") -> NewTask:
    return NewTask(new_id(), principal.organization_id, principal.user_id, "analyze", description, datetime.now(UTC))


def key(text: str = "k", fingerprint: bytes = b"body") -> Key:
    return Key("POST /tasks/analyze", text, fingerprint)


async def test_a_submitted_task_is_queued_and_its_quota_reserved_under_its_id(world: World, alice: Principal) -> None:
    new = wanted(alice)

    submitted = await world.submission.submit_task(alice, new, None)

    assert (submitted.task.id, submitted.task.status, submitted.replayed) == (new.id, "queued", False)
    assert world.quota.states == {(alice.organization_id, str(new.id)): "reserved"}
    assert await world.submission.get_task(alice, new.id) == submitted.task


async def test_a_spent_quota_leaves_no_trace(alice: Principal) -> None:
    world = World(limit=0)

    with pytest.raises(QuotaExceeded):
        await world.submission.submit_task(alice, wanted(alice), key())

    assert (world.store.tasks, world.store.settlements, world.states()) == ({}, {}, [])


async def test_the_key_of_a_refused_submission_can_be_used_again(alice: Principal) -> None:
    world = World(limit=0)
    with pytest.raises(QuotaExceeded):
        await world.submission.submit_task(alice, wanted(alice), key())
    world.quota.limit = 1

    submitted = await world.submission.submit_task(alice, wanted(alice), key())

    assert not submitted.replayed
    assert world.states() == ["reserved"]


@pytest.mark.parametrize(
    "error", [CapabilityUnavailable(capability="tasks"), DeadlineExceeded(), UpstreamFailed()], ids=lambda e: e.code
)
async def test_while_accounts_are_away_no_task_is_made_and_a_refund_is_noted(
    world: World, alice: Principal, error: ServiceError
) -> None:
    world.quota.error = error

    with pytest.raises(type(error)):
        await world.submission.submit_task(alice, wanted(alice), key())

    assert world.store.tasks == {}
    assert [settling and settling.outcome for settling in world.store.settlements.values()] == ["refund"]


async def test_a_reservation_whose_answer_was_lost_is_given_back(world: World, alice: Principal) -> None:
    world.quota.is_lost = True
    with pytest.raises(CapabilityUnavailable):
        await world.submission.submit_task(alice, wanted(alice), key())
    assert world.states() == ["reserved"]

    await world.after_the_time_of_a_submission()

    assert world.states() == ["refunded"]


async def test_a_reservation_that_was_never_made_needs_no_refund(world: World, alice: Principal) -> None:
    world.quota.error = CapabilityUnavailable(capability="tasks")
    with pytest.raises(CapabilityUnavailable):
        await world.submission.submit_task(alice, wanted(alice), None)
    world.quota.error = None

    await world.after_the_time_of_a_submission()

    assert (world.states(), world.store.settlements) == ([], {})


async def test_the_same_key_and_body_give_the_same_task_and_one_reservation(world: World, alice: Principal) -> None:
    first = await world.submission.submit_task(alice, wanted(alice), key())

    again = await world.submission.submit_task(alice, wanted(alice), key())

    assert (again.task.id, again.replayed) == (first.task.id, True)
    assert world.states() == ["reserved"]
    assert len(world.store.tasks) == 1


async def test_the_same_key_with_another_body_is_refused_and_costs_nothing(world: World, alice: Principal) -> None:
    await world.submission.submit_task(alice, wanted(alice), key())

    with pytest.raises(IdempotencyMismatch):
        await world.submission.submit_task(alice, wanted(alice, "other"), key(fingerprint=b"other"))

    assert world.states() == ["reserved"]


async def test_a_key_belongs_to_its_person_and_route(world: World, alice: Principal) -> None:
    bob = somebody(organization_id=alice.organization_id)
    await world.submission.submit_task(alice, wanted(alice), key())

    await world.submission.submit_task(bob, wanted(bob), key())
    await world.submission.submit_task(alice, wanted(alice), Key("POST /tasks/research", "k", b"body"))

    assert world.states() == ["reserved"] * 3


async def test_a_key_whose_first_request_still_runs_conflicts(world: World, alice: Principal) -> None:
    await world.store.claim(wanted(alice), key())

    with pytest.raises(IdempotencyConflict):
        await world.submission.submit_task(alice, wanted(alice), key())


async def test_a_submission_that_overran_makes_no_task_and_is_refunded(world: World, alice: Principal) -> None:
    class Slow(InMemoryQuota):
        async def reserve(self, organization_id: str, task_id: object) -> None:
            await super().reserve(organization_id, task_id)  # type: ignore[arg-type]
            world.store.due[task_id] = datetime.now(UTC)

    world.quota = Slow()
    world.submission = Submission(world.store, world.quota)
    world.delivery = Delivery(world.store, world.store, world.notifications, world.quota)

    with pytest.raises(SubmissionOverran):
        await world.submission.submit_task(alice, wanted(alice), None)
    await world.delivery.deliver_due()

    assert (world.store.tasks, world.states()) == ({}, ["refunded"])


async def test_a_task_is_shown_to_its_owner_alone(world: World, alice: Principal) -> None:
    new = wanted(alice)
    await world.submission.submit_task(alice, new, None)

    for other in (somebody(organization_id=alice.organization_id), somebody()):
        with pytest.raises(TaskNotFound):
            await world.submission.get_task(other, new.id)
        with pytest.raises(TaskNotFound):
            await world.submission.cancel_task(other, new.id)
        assert await world.submission.list_tasks(other, None, 10) == []
    assert world.store.tasks[new.id].status == "queued"


async def test_tasks_are_listed_newest_first_from_just_before_a_place(world: World, alice: Principal) -> None:
    made = [(await world.submission.submit_task(alice, wanted(alice), None)).task.id for _ in range(4)]

    listed = await world.submission.list_tasks(alice, made[3], 2)

    assert [task.id for task in listed] == [made[2], made[1]]


async def test_a_queued_task_that_is_cancelled_is_never_run_and_refunded_once(world: World, alice: Principal) -> None:
    new = wanted(alice)
    await world.submission.submit_task(alice, new, None)

    cancelled = await world.submission.cancel_task(alice, new.id)
    again = await world.submission.cancel_task(alice, new.id)
    await world.execution.run_task(alice.organization_id, new.id)
    rounds = [await world.delivery.deliver_due(), await world.delivery.deliver_due()]

    assert (cancelled.status, again.status) == ("cancelled", "cancelled")
    assert world.store.attempts == {}
    assert world.states() == ["refunded"]
    assert rounds == [1, 0]
    assert world.notifications.told == {}


async def test_a_running_task_that_is_cancelled_throws_its_result_away(world: World, alice: Principal) -> None:
    new = wanted(alice)
    await world.submission.submit_task(alice, new, None)

    async def is_cancelled(_attempt: Attempt, _progress: object) -> Report:
        await world.submission.cancel_task(alice, new.id)
        return Report("Title", "Too late.", ())

    retries = Retries(timedelta(0), timedelta(0), max_failures=1, patience=timedelta(0))
    await Execution(world.store, {"analyze": is_cancelled}, retries, worker="w").run_task(alice.organization_id, new.id)
    await world.delivery.deliver_due()

    task = await world.submission.get_task(alice, new.id)
    assert (task.status, task.result) == ("cancelled", None)
    assert world.states() == ["refunded"]
    assert world.notifications.told == {}


async def test_an_ended_task_can_no_longer_be_cancelled(world: World, alice: Principal) -> None:
    new = wanted(alice)
    await world.submission.submit_task(alice, new, None)
    await world.execution.run_task(alice.organization_id, new.id)

    with pytest.raises(TaskEnded):
        await world.submission.cancel_task(alice, new.id)
    await world.delivery.deliver_due()

    assert world.states() == ["committed"]


async def test_a_task_that_succeeds_is_charged_once_and_told_once(world: World, alice: Principal) -> None:
    new = wanted(alice)
    await world.submission.submit_task(alice, new, None)

    await world.execution.run_task(alice.organization_id, new.id)
    await world.execution.run_task(alice.organization_id, new.id)
    rounds = [await world.delivery.deliver_due(), await world.delivery.deliver_due()]

    assert rounds == [1, 0]
    assert world.states() == ["committed"]
    assert world.notifications.told == {f"task:{new.id}:ended": 1}


async def test_what_was_refunded_does_not_count_towards_the_quota(alice: Principal) -> None:
    world = World(limit=1)
    new = wanted(alice)
    await world.submission.submit_task(alice, new, None)
    with pytest.raises(QuotaExceeded):
        await world.submission.submit_task(alice, wanted(alice), None)

    await world.submission.cancel_task(alice, new.id)
    await world.delivery.deliver_due()

    assert (await world.submission.submit_task(alice, wanted(alice), None)).task.status == "queued"
