"""Errors as application/problem+json (RFC 9457), the same for every service; nothing of the request is echoed."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from shared.errors import (
    BodyTooLarge,
    FieldError,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    Unauthenticated,
    UnsupportedMediaType,
)

log = structlog.get_logger()

ITEMS_OF_A_TEXT = re.compile(r"Value should have at (most|least) (\d+) items? after validation")
CONTENT_TYPE = "application/problem+json"


def document(error: ServiceError, request_id: str) -> bytes:
    """The problem document of an error."""
    body: dict[str, Any] = {
        "type": f"urn:multidb:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = [{"field": e.field, "code": e.code, "message": e.message} for e in error.errors]
    return orjson.dumps(body | error.extra, default=str)


def headers_of(error: ServiceError) -> dict[str, str]:
    """The headers that go with an error."""
    retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return {**retry, **error.headers}


def problem_response(error: ServiceError, request_id: str) -> Response:
    """The error as a reply."""
    return Response(document(error, request_id), error.status, headers_of(error), CONTENT_TYPE)


def request_id_of(request: Request) -> str:
    """The id that `shared.edge.Edge` gave this request."""
    return str(request.scope.get("request_id", ""))


def field_errors(errors: Sequence[Mapping[str, Any]]) -> tuple[FieldError, ...]:
    """Pydantic's findings without the values: where, which rule, and what to do."""
    return tuple(
        FieldError(
            field=".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")),
            code=str(error["type"]),
            message=_message(error),
        )
        for error in errors
    )


def _message(error: Mapping[str, Any]) -> str:
    """Pydantic's words, but for the length of a text that a function looked at before: it counts "items" there."""
    found = ITEMS_OF_A_TEXT.match(str(error["msg"]))
    return f"String should have at {found[1]} {found[2]} characters" if found else str(error["msg"])


def invalid(error: ValidationError) -> InvalidRequest:
    """A pydantic finding as our error, for routes that validate by hand."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return InvalidRequest(errors=field_errors(found))


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - FastAPI calls this handler for ServiceError alone
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_refused", code=error.code, detail=error.detail)
    return problem_response(error, request_id_of(request))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    return problem_response(InvalidRequest(errors=field_errors(error.errors())), request_id_of(request))


_BY_STATUS: dict[int, type[ServiceError]] = {
    400: MalformedRequest,
    401: Unauthenticated,
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
    415: UnsupportedMediaType,
}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    known = _BY_STATUS.get(error.status_code, InternalError)
    return problem_response(known(headers=error.headers), request_id_of(request))


def install(app: FastAPI) -> None:
    """Let every expected error of this application leave as a problem document; `Edge` answers for the others."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "capability": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries for the problems an operation can give: `responses=responses(401, 404)`."""
    content = {CONTENT_TYPE: {"schema": PROBLEM_SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
