"""Taking tasks in: one reservation of quota and one row per submission, whatever is repeated or breaks in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from shared.errors import ServiceError
from shared.idempotency import patiently
from shared.principal import Principal
from task_worker.domain.task import Key, NewTask, Task, TaskEnded, TaskNotFound

FAILED = 500
"""From this status on a refusal of auth-service does not say that nothing was reserved."""


class Tasks(Protocol):
    """Where tasks are kept."""

    async def claim(self, new: NewTask, key: Key | None) -> UUID | None:
        """Note the submission before anything is spent: a refund that becomes due unless the task is admitted in time.

        Returns the id of the task that this key made before, or None for a new one. Raises IdempotencyConflict
        while another request with the key is being worked on, IdempotencyMismatch for another body.
        """
        ...

    async def admit(self, new: NewTask, key: Key | None) -> Task:
        """Make the task and its job in one transaction; raises SubmissionOverran when the refund came first."""
        ...

    async def withdraw(self, new: NewTask, key: Key | None, *, maybe_reserved: bool) -> None:
        """Forget it and let the key be used again; the refund stays when something may have been reserved."""
        ...

    async def find(self, principal: Principal, task_id: UUID) -> Task | None:
        """The task of this person with its result, if there is one."""
        ...

    async def page(self, principal: Principal, before: UUID | None, limit: int) -> Sequence[Task]:
        """Tasks of this person, the newest first, from just before `before`."""
        ...

    async def cancel(self, principal: Principal, task_id: UUID) -> bool:
        """End a task that is queued or running, give its quota back and tell its worker; whether it was."""
        ...


class Quota(Protocol):
    """What an organization may still spend."""

    async def reserve(self, organization_id: str, task_id: UUID) -> None:
        """Reserve one task; raises QuotaExceeded when the plan is spent. Idempotent by task."""
        ...


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task that was taken in; `replayed` when the same key had made it before."""

    task: Task
    replayed: bool


class Submission:
    """What happens when a person submits, looks at or cancels a task."""

    def __init__(self, tasks: Tasks, quota: Quota) -> None:
        self._tasks = tasks
        self._quota = quota

    async def submit_task(self, principal: Principal, new: NewTask, key: Key | None) -> Submitted:
        """Take a task in. The quota is reserved under the task's id before the task exists.

        When it is not known whether the reservation was made (a neighbour that does not answer, a process that dies)
        the refund noted by `claim` settles it.
        """
        made_before = await patiently(lambda: self._tasks.claim(new, key))
        if made_before is not None:
            return Submitted(await self.get_task(principal, made_before), replayed=True)
        try:
            await self._quota.reserve(new.organization_id, new.id)
        except ServiceError as error:
            await self._tasks.withdraw(new, key, maybe_reserved=error.status >= FAILED)
            raise
        return Submitted(await self._tasks.admit(new, key), replayed=False)

    async def get_task(self, principal: Principal, task_id: UUID) -> Task:
        """The task; raises TaskNotFound for one that is absent or somebody else's."""
        task = await self._tasks.find(principal, task_id)
        if task is None:
            raise TaskNotFound
        return task

    async def list_tasks(self, principal: Principal, before: UUID | None, limit: int) -> Sequence[Task]:
        """Tasks of this person, the newest first."""
        return await self._tasks.page(principal, before, limit)

    async def cancel_task(self, principal: Principal, task_id: UUID) -> Task:
        """End a task early. Cancelling twice is fine; raises TaskEnded for one that succeeded or failed."""
        cancelled = await self._tasks.cancel(principal, task_id)
        task = await self.get_task(principal, task_id)
        if not cancelled and task.status != "cancelled":
            raise TaskEnded
        return task
