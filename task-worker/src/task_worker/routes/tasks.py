"""The public task paths: submit, look at, list and cancel."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Response

from shared.bodies import StrictRoute
from shared.callers import CurrentPrincipal
from shared.cursors import Cursors
from shared.fields import Cursor, Limit
from shared.idempotency import KEY_PARAMETER, REPLAYED, REPLAYED_HEADER
from shared.ids import new_id, parse_id
from shared.parts import Part
from shared.principal import Principal
from shared.problems import responses
from task_worker.domain.submission import Submission, Submitted
from task_worker.domain.task import Kind, NewTask, TaskNotFound
from task_worker.routes import bodies
from task_worker.routes.submissions import SubmissionIn, read_json, read_json_or_form

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=StrictRoute)

REFUSALS = (400, 401, 409, 413, 415, 422, 429, 500, 503, 504)
JSON_BODY: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/TaskIn"}}
FORM_BODY: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["description"],
        "additionalProperties": False,
        "properties": {
            **bodies.TaskIn.model_json_schema()["properties"],
            "file": {
                "type": "string",
                "format": "binary",
                "minLength": 1,
                "description": "A CSV of up to 10 MiB with a header row; it is analysed instead of the conversations.",
            },
        },
    }
}
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": bodies.TaskAccepted,
        "description": "Taken in",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Where its status is."},
            **REPLAYED_HEADER,
        },
    }
}


TaskId = Annotated[str, Path(description="The task_id of a submission.")]


@router.post(
    "/analyze",
    status_code=202,
    responses={**ACCEPTED, **responses(*REFUSALS)},
    openapi_extra={
        "parameters": [KEY_PARAMETER],
        "requestBody": {
            "required": True,
            "content": {"application/json": JSON_BODY, "multipart/form-data": FORM_BODY},
        },
    },
)
async def analyze(
    submitted: Annotated[SubmissionIn, Depends(read_json_or_form)],
    principal: CurrentPrincipal,
    submission: Part[Submission],
) -> Response:
    """Analyse the organization's conversations, or a CSV sent along, in the background."""
    return await _submit_task("analyze", submitted, principal, submission)


@router.post(
    "/research",
    status_code=202,
    responses={**ACCEPTED, **responses(*REFUSALS)},
    openapi_extra={
        "parameters": [KEY_PARAMETER],
        "requestBody": {"required": True, "content": {"application/json": JSON_BODY}},
    },
)
async def research(
    submitted: Annotated[SubmissionIn, Depends(read_json)], principal: CurrentPrincipal, submission: Part[Submission]
) -> Response:
    """Research a topic in the organization's knowledge base, in the background."""
    return await _submit_task("research", submitted, principal, submission)


@router.get("/{task_id}/status", response_model=bodies.TaskOut, responses=responses(401, 404, 500, 503, 504))
async def get_status(task_id: TaskId, principal: CurrentPrincipal, submission: Part[Submission]) -> Response:
    """How far a task is, and its result once it has one."""
    return _json(bodies.shown(await submission.get_task(principal, _task_id(task_id))))


@router.get("", response_model=bodies.TaskPage, responses=responses(401, 422, 500, 503, 504))
async def list_tasks(
    principal: CurrentPrincipal,
    submission: Part[Submission],
    cursors: Part[Cursors],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """Your tasks, the newest first."""
    scope = f"tasks:{principal.organization_id}:{principal.user_id}"
    before = None if cursor is None else UUID(cursors.read(scope, cursor))
    tasks = await submission.list_tasks(principal, before, limit + 1)
    kept, more = tasks[:limit], len(tasks) > limit
    return _json(bodies.page(kept, cursors.make(scope, str(kept[-1].id)) if more else None))


@router.post("/{task_id}/cancel", response_model=bodies.TaskOut, responses=responses(401, 404, 409, 500, 503, 504))
async def cancel_task(task_id: TaskId, principal: CurrentPrincipal, submission: Part[Submission]) -> Response:
    """End a task early; its quota is given back."""
    return _json(bodies.shown(await submission.cancel_task(principal, _task_id(task_id))))


async def _submit_task(kind: Kind, submitted: SubmissionIn, principal: Principal, submission: Submission) -> Response:
    new = NewTask(
        id=new_id(),
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        kind=kind,
        description=submitted.description,
        created_at=datetime.now(UTC),
        upload=submitted.upload,
    )
    return _accepted(await submission.submit_task(principal, new, submitted.key(f"POST /tasks/{kind}")))


def _accepted(submitted: Submitted) -> Response:
    headers = {"Location": f"/tasks/{submitted.task.id}/status"}
    if submitted.replayed:
        headers[REPLAYED] = "true"
    body = bodies.accepted(submitted.task)
    return Response(body.model_dump_json(), status_code=202, headers=headers, media_type="application/json")


def _task_id(text: str) -> UUID:
    """An id in the path; anything that is not one of ours names no task."""
    parsed = parse_id(text)
    if parsed is None:
        raise TaskNotFound
    return parsed


def _json(body: dict[str, Any]) -> Response:
    """Straight to bytes: a report may be large and was checked when it was written."""
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), media_type="application/json")
