"""Reading a submission: JSON, or a form with a file, strictly and within limits."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePath
from typing import NewType

from fastapi import Request
from pydantic import ValidationError
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from shared.bodies import parse_json, read_limited
from shared.errors import BodyTooLarge, FieldError, InvalidRequest, MalformedRequest, UnsupportedMediaType
from shared.idempotency import fingerprint, key_of
from shared.parts import Part
from shared.problems import invalid
from task_worker.domain.task import Key, Upload, WrongBody
from task_worker.routes.bodies import TaskIn

JSON_LIMIT = 1024 * 1024
FORM_OVERHEAD = 64 * 1024
"""Bytes that boundaries, part headers and the description may take beside the file."""
UploadLimit = NewType("UploadLimit", int)
"""Bytes that an uploaded file may have."""


@dataclass(frozen=True, slots=True)
class SubmissionIn:
    """A submission as it was read."""

    description: str
    upload: Upload | None
    idempotency_key: str | None

    def key(self, route: str) -> Key | None:
        """The idempotency key of this route, with a fingerprint of everything that was asked for."""
        if self.idempotency_key is None:
            return None
        parts = [self.description.encode()]
        if self.upload is not None:
            parts += [self.upload.name.encode(), self.upload.content]
        return Key(route, self.idempotency_key, bytes.fromhex(fingerprint(*parts)))


async def read_json(request: Request) -> SubmissionIn:
    """A JSON body. Raises UnsupportedMediaType 415, BodyTooLarge 413, MalformedRequest 400, InvalidRequest 422."""
    if not _is_json(request):
        raise UnsupportedMediaType
    return _submission(request, await read_limited(request.scope, request.receive, JSON_LIMIT), None)


async def read_json_or_form(request: Request, upload_limit: Part[UploadLimit]) -> SubmissionIn:
    """A JSON body or a form with `description` and `file`; raises as `read_json`, and WrongBody (415)."""
    if _is_json(request):
        return await read_json(request)
    if _media_type(request) != "multipart/form-data":
        raise WrongBody
    form = await _parse(request, upload_limit + FORM_OVERHEAD)
    try:
        return _submission(request, _fields(form), await _upload(form, upload_limit))
    finally:
        await form.close()


def _submission(request: Request, body: bytes | dict[str, str], upload: Upload | None) -> SubmissionIn:
    try:
        wanted = TaskIn.model_validate(parse_json(body) if isinstance(body, bytes) else body)
    except ValidationError as error:
        raise invalid(error) from error
    return SubmissionIn(wanted.description, upload, key_of(request.scope["headers"]))


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(request: Request) -> bool:
    media_type = _media_type(request)
    return media_type == "application/json" or media_type.endswith("+json")


async def _parse(request: Request, limit: int) -> FormData:
    body = await read_limited(request.scope, request.receive, limit)

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        return await MultiPartParser(
            request.headers, pieces(), max_files=1, max_fields=1, max_part_size=FORM_OVERHEAD
        ).parse()
    except (MultiPartException, MultipartParseError, HTTPException, KeyError, UnicodeDecodeError) as error:
        raise MalformedRequest("The form is not readable, or has more than a description and one file.") from error


def _fields(form: FormData) -> dict[str, str]:
    """The text fields; a file under another name than `file` counts as an unknown field."""
    return {name: str(value) if isinstance(value, str) else "" for name, value in form.items() if name != "file"}


async def _upload(form: FormData, limit: int) -> Upload | None:
    given = form.get("file")
    if given is None:
        return None
    if not isinstance(given, UploadFile):
        raise InvalidRequest(errors=(FieldError("file", "not_a_file", "send the CSV as a file"),))
    content = await given.read()
    if len(content) > limit:
        raise BodyTooLarge
    if not content:
        raise InvalidRequest(errors=(FieldError("file", "empty", "the file is empty"),))
    return Upload(_safe_name(given.filename), content)


def _safe_name(name: str | None) -> str:
    """The last part of the name the client gave, without what could confuse a reader."""
    last = PurePath((name or "").replace("\\", "/")).name
    return re.sub(r"[^\w .()-]", "_", last)[:128] or "upload.csv"
