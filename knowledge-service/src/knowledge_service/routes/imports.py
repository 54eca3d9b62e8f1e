"""Imports over HTTP: a file or a JSON list in, a report to look at out."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field, ValidationError

from knowledge_service.domain.import_files import UnreadableRow, Upload, format_of
from knowledge_service.domain.importing import Import, Importing, ImportNotFound
from knowledge_service.routes.bodies import ArticleIn
from knowledge_service.routes.keyed import KEYED, KeyedRoute
from knowledge_service.routes.multipart import NotMultipart, files_of
from knowledge_service.routes.parameters import Editor, Reader
from shared.bodies import parse_json, read_limited
from shared.contracts import PublicRequest
from shared.errors import BodyTooLarge, FieldError, Forbidden, InvalidRequest, MalformedRequest, UnsupportedMediaType
from shared.ids import parse_id
from shared.parts import Part
from shared.problems import field_errors, invalid, responses

LARGEST = 10 * 1024 * 1024
OVERHEAD = 64 * 1024
"""What a multipart body may have around its file."""
CHECKED_AT_ONCE = 256 * 1024
"""Bytes of a JSON body that is parsed where the requests are, about 5 ms; a larger one is read like a file."""
MOST_ARTICLES = 100_000
SHOWN = frozenset({"id", "version", "status", "published_version", "created_at", "updated_at"})
"""Fields that an article shows but nobody sets; a list that was read back may have them."""

router = APIRouter(prefix="/knowledge", tags=["knowledge"], route_class=KeyedRoute)


class ArticlesIn(PublicRequest):
    """Articles as JSON; each is checked as a row of its own."""

    articles: Annotated[list[Any], Field(min_length=1, max_length=MOST_ARTICLES)]


class ImportRows(BaseModel):
    """How many rows there are and what became of them."""

    total: int
    created: int
    updated: int
    unchanged: int
    failed: int


class ImportRowError(BaseModel):
    """What is wrong with a row, counted from 1 without the header; row 0 is the file as a whole."""

    row: int
    code: str
    message: str


class ImportOut(BaseModel):
    """How an import goes; `errors` holds the first 200. `epoch` is the one it published, if it did."""

    id: str
    state: Literal["running", "succeeded", "failed"]
    dry_run: bool
    rows: ImportRows
    errors: list[ImportRowError]
    epoch: int | None

    @classmethod
    def of(cls, report: Import) -> "ImportOut":
        """The report as the public sees it."""
        return cls(
            id=str(report.import_id),
            state=report.state,
            dry_run=report.dry_run,
            rows=ImportRows(
                total=report.total,
                created=report.created,
                updated=report.updated,
                unchanged=report.unchanged,
                failed=report.failed,
            ),
            errors=[ImportRowError(row=e.row, code=e.code, message=e.message) for e in report.errors],
            epoch=report.epoch,
        )


async def import_id(import_id: Annotated[str, Path(max_length=64)]) -> UUID:
    """The id in the path; what is no id of ours is an import that is not there."""
    parsed = parse_id(import_id)
    if parsed is None:
        raise ImportNotFound
    return parsed


def _articles_schema() -> dict[str, Any]:
    """The rule for the body as a whole, and for each article what is imported; anything else is a row that failed."""
    schema = ArticlesIn.model_json_schema()
    failed = {"description": "Anything else is accepted, and reported as a row that failed."}
    schema["properties"]["articles"]["items"] = {"anyOf": [ArticleIn.model_json_schema(), failed]}
    return schema


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "CSV, JSON, JSON lines or Markdown, up to 10 MiB.",
                        }
                    },
                }
            },
            "application/json": {"schema": _articles_schema()},
        },
    }
}


@router.post(
    "/import",
    status_code=202,
    responses=responses(400, 401, 403, 409, 413, 415, 422, 429, 503, 504),
    openapi_extra=BODY | KEYED,
)
async def import_articles(
    request: Request,
    response: Response,
    principal: Editor,
    importing: Part[Importing],
    *,
    publish: Annotated[bool, Query()] = False,
    dry_run: Annotated[bool, Query()] = False,
) -> ImportOut:
    """Draft or change many articles at once; rows with a known `external_id`, else a known question, update.

    `publish=true` publishes afterwards (admin and up); `dry_run=true` only says what would happen.
    """
    if publish and not principal.has_role("admin"):
        raise Forbidden("This needs the role admin or higher.")
    upload = await _upload(request)
    report = await importing.import_articles(principal.organization_id, upload, publish=publish, dry_run=dry_run)
    response.headers["Location"] = f"/knowledge/imports/{report.import_id}"
    return ImportOut.of(report)


@router.get("/imports/{import_id}", responses=responses(401, 403, 404, 422, 429, 503, 504))
async def get_import(
    import_id: Annotated[UUID, Depends(import_id)], principal: Reader, importing: Part[Importing]
) -> ImportOut:
    """How an import goes, on every replica; kept for 30 days."""
    return ImportOut.of(await importing.get_import(principal.organization_id, import_id))


async def _upload(request: Request) -> Upload:
    """The file that this request sends; what can be said of it at once is said here."""
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, not compressed.")
    if media_type == "application/json":
        body = await read_limited(request.scope, request.receive, LARGEST)
        if len(body) <= CHECKED_AT_ONCE:
            _check(body)
        return Upload("json", body)
    if media_type == "multipart/form-data":
        return _file(content_type, await read_limited(request.scope, request.receive, LARGEST + OVERHEAD))
    raise UnsupportedMediaType(
        "Send a CSV, JSON, JSON lines or Markdown file as multipart/form-data, or articles as application/json."
    )


def _check(body: bytes) -> None:
    try:
        ArticlesIn.model_validate(parse_json(body))
    except ValidationError as error:
        raise invalid(error) from error


def _file(content_type: str, body: bytes) -> Upload:
    try:
        file = next((part for part in files_of(content_type, body) if part.field == "file"), None)
    except NotMultipart as error:
        raise MalformedRequest("The multipart body is not readable.") from error
    if file is None:
        raise InvalidRequest(errors=(FieldError("file", "missing", "A file is required."),))
    file_format = format_of(file.name, file.media_type)
    if file_format is None:
        raise UnsupportedMediaType("The file must be CSV, JSON, JSON lines or Markdown, by its name or its type.")
    if len(file.content) > LARGEST:
        raise BodyTooLarge
    return Upload(file_format, file.content)


def checked_row(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an imported row that were given, by the same rules as a single article; raises UnreadableRow."""
    settable = {name: value for name, value in fields.items() if name not in SHOWN}
    try:
        article = ArticleIn.model_validate(settable)
    except ValidationError as error:
        first = field_errors(error.errors(include_input=False, include_url=False, include_context=False))[0]
        raise UnreadableRow(first.code, f"{first.field}: {first.message}") from error
    given = article.model_dump(exclude_unset=True)
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
