"""A task, its attempts and how it may end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from shared.errors import Conflict, NotFound, ServiceError, UnsupportedMediaType

Kind = Literal["analyze", "research"]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Settlement = Literal["commit", "refund"]
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


class TaskNotFound(NotFound):
    """There is no such task."""


class TaskEnded(Conflict):
    """This task has ended already."""


class WrongBody(UnsupportedMediaType):
    """Send the body as application/json, or as multipart/form-data with the fields description and file."""


class SubmissionOverran(ServiceError):
    """The submission took too long and was withdrawn: try again."""

    status = 503

    def __init__(self) -> None:
        super().__init__(retry_after=1, capability="tasks")


class AttemptSuperseded(Exception):
    """Another attempt has taken over or the task was cancelled: whatever this one finds is thrown away."""


class TaskImpossible(Exception):
    """The work cannot be done however often it is tried; `code` and `detail` are for the person who asked."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ResultNotStorable(TaskImpossible):
    """The database refuses what the work found: doing it again would find the same."""

    def __init__(self) -> None:
        super().__init__(
            "result_not_storable",
            "The work was done, but its result holds something that cannot be stored. It was not charged.",
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a task."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewTask:
    """What somebody wants done."""

    id: UUID
    organization_id: str
    user_id: str
    kind: Kind
    description: str
    created_at: datetime
    upload: Upload | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An Idempotency-Key with the fingerprint of the body it came with."""

    route: str
    text: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its owner sees it."""

    id: UUID
    kind: Kind
    description: str
    status: Status
    percent: int
    step: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Mapping[str, Any] | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to work on a task: good until the task has a higher attempt number or has ended."""

    organization_id: str
    user_id: str
    task_id: UUID
    number: int
    kind: Kind
    description: str
    created_at: datetime
    failures: int = 0
    lost: int = 0
    upload_name: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person has to hear of, exactly once; the id is derived from the task so that it never doubles."""

    event_id: str
    organization_id: str
    user_id: str
    type: str
    title: str
    body: str
    data: Mapping[str, str]
    occurred_at: datetime
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Settling:
    """A reservation of quota that has to be committed or refunded."""

    organization_id: str
    task_id: UUID
    outcome: Settlement
    tries: int
