"""What the public paths take and give."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts import PublicRequest
from shared.fields import Readable
from task_worker.domain.task import Kind, Status, Task


class TaskIn(PublicRequest):
    """What should be done, in plain words; periods such as "Q4 2024" or "last month" are understood."""

    description: Annotated[Readable, Field(min_length=1, max_length=4_000)]


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class TaskAccepted(_Out):
    """A task that was taken in."""

    task_id: str
    kind: Kind
    status: Status
    created_at: datetime


class ProgressOut(_Out):
    """How far a task is."""

    percent: Annotated[int, Field(ge=0, le=100)]
    step: str


class FindingOut(_Out):
    """One thing that was found, with the query that gave it."""

    model_config = ConfigDict(extra="allow")

    title: str
    value: float | str | None
    query: str
    detail: str = ""


class ResultOut(_Out):
    """What came out; further members depend on the kind (period, sources, gaps, suggested_articles ...)."""

    model_config = ConfigDict(extra="allow")

    summary: str
    report_markdown: str
    findings: list[FindingOut]


class ErrorOut(_Out):
    """Why a task failed."""

    code: str
    detail: str


class TaskOut(_Out):
    """A task as it stands."""

    task_id: str
    kind: Kind
    status: Status
    description: str
    progress: ProgressOut
    result: ResultOut | None
    error: ErrorOut | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskPage(_Out):
    """Tasks, the newest first."""

    tasks: list[TaskOut]
    next_cursor: str | None


def accepted(task: Task) -> TaskAccepted:
    """A task as the reply to its submission: the same for a repeated request, whatever became of it since."""
    return TaskAccepted(task_id=str(task.id), kind=task.kind, status="queued", created_at=task.created_at)


def shown(task: Task) -> dict[str, Any]:
    """A task for its owner, as JSON-ready data; the result is as the worker wrote it and is not read again."""
    return {
        "task_id": str(task.id),
        "kind": task.kind,
        "status": task.status,
        "description": task.description,
        "progress": {"percent": task.percent, "step": task.step},
        "result": task.result,
        "error": None if task.error is None else {"code": task.error.code, "detail": task.error.detail},
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
    }


def page(tasks: Sequence[Task], next_cursor: str | None) -> dict[str, Any]:
    """A page of tasks as JSON-ready data."""
    return {"tasks": [shown(task) for task in tasks], "next_cursor": next_cursor}
