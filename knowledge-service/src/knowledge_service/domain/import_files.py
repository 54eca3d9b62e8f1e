"""Files of articles, read into rows: CSV, JSON, JSON lines and Markdown."""

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from markdown_it import MarkdownIt
from markdown_it.token import Token

LIST_FIELDS = frozenset({"alternatives", "tags"})
TEXT_FIELDS = frozenset({"question", "answer", "language", "external_id"})
SEPARATORS = {"alternatives": re.compile(r"\|"), "tags": re.compile(r"[|,;]")}
DELIMITERS = (",", ";", "\t")
LARGEST_CELL = 4 * 1024 * 1024
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
MARKDOWN_FIELD = re.compile(r"(alternatives|tags|language|external_id|id)\s*:\s*(.+)", re.IGNORECASE)


class UnreadableFile(Exception):
    """The file as a whole cannot be read; `code` and the message go into the report of the import."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class UnreadableRow(Exception):
    """One row cannot be read; the others can."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Row:
    """One article of a file: its number, counted from 1 without headers, and its fields or what is wrong with it."""

    number: int
    fields: dict[str, Any]
    error: UnreadableRow | None = None


def format_of(file_name: str, media_type: str) -> str | None:
    """Which format a file is in, by its name, else by its media type; None when neither says."""
    by_name = {"csv": "csv", "tsv": "csv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl"}
    by_name |= {"md": "markdown", "markdown": "markdown"}
    by_type = {"text/csv": "csv", "application/csv": "csv", "text/tab-separated-values": "csv"}
    by_type |= {"application/json": "json", "application/jsonl": "jsonl", "application/x-ndjson": "jsonl"}
    by_type |= {"text/markdown": "markdown", "text/x-markdown": "markdown"}
    extension = file_name.rpartition(".")[2].lower()
    return by_name.get(extension) or by_type.get(media_type.partition(";")[0].strip().lower())


def read_rows(file_format: str, content: bytes) -> list[Row]:
    """The rows of a file; raises UnreadableFile."""
    readers: dict[str, Callable[[str], Iterator[Row]]] = {
        "csv": _csv_rows,
        "json": _json_rows,
        "jsonl": _jsonl_rows,
        "markdown": _markdown_rows,
    }
    return list(readers[file_format](_text(content)))


def rows_of(articles: list[Any]) -> list[Row]:
    """The rows of a JSON list."""
    return [_object_row(number, value) for number, value in enumerate(articles, 1)]


def _text(content: bytes) -> str:
    mark, encoding = next(((m, e) for m, e in BYTE_ORDER_MARKS if content.startswith(m)), (b"", "utf-8"))
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableFile("invalid_encoding", "Save the file as UTF-8.") from error


def _csv_rows(text: str) -> Iterator[Row]:
    first_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    csv.field_size_limit(LARGEST_CELL)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next((line for line in lines if any(cell.strip() for cell in line)), [])
        names = [cell.strip().casefold().replace(" ", "_") for cell in header]
        if not {"question", "answer"} <= set(names):
            raise UnreadableFile("missing_header", "The first line must name the columns question and answer.")
        filled = (line for line in lines if any(cell.strip() for cell in line))
        for number, line in enumerate(filled, 1):
            yield _csv_row(number, names, line)
    except csv.Error as error:
        raise UnreadableFile("invalid_csv", f"Line {lines.line_num} is not readable: {error}.") from error


def _csv_row(number: int, names: list[str], line: list[str]) -> Row:
    if len(line) > len(names):
        return Row(number, {}, UnreadableRow("too_many_columns", "The row has more columns than the header."))
    return Row(number, _fields(dict(zip(names, line, strict=False))))


def _fields(cells: dict[str, str]) -> dict[str, Any]:
    """Cells as fields: lists split, empty optional cells left out, columns that are none of ours passed over."""
    fields: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in LIST_FIELDS:
            fields[name] = [part.strip() for part in SEPARATORS[name].split(cell) if part.strip()]
        elif name in TEXT_FIELDS and (cell.strip() or name in {"question", "answer"}):
            fields[name] = cell.strip()
    return fields


def _json_rows(text: str) -> Iterator[Row]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableFile("invalid_json", f"The file is not JSON: line {error.lineno}.") from error
    if isinstance(value, dict):
        value = value.get("articles", [value])
    if not isinstance(value, list):
        raise UnreadableFile("invalid_json", 'Expected a list of articles, or {"articles": […]}.')
    yield from rows_of(value)


def _jsonl_rows(text: str) -> Iterator[Row]:
    filled = (line for line in text.split("\n") if line.strip())
    for number, line in enumerate(filled, 1):
        try:
            yield _object_row(number, orjson.loads(line))
        except orjson.JSONDecodeError:
            yield Row(number, {}, UnreadableRow("invalid_json", "The line is not JSON."))


def _object_row(number: int, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(number, {}, UnreadableRow("not_an_object", "Expected an article object."))
    return Row(number, value)


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    title: str
    starts: int
    ends: int


def _markdown_rows(text: str) -> Iterator[Row]:
    """One article per heading that has text of its own, on the level where most of them are.

    Deeper headings belong to the answer, higher ones are sections. Lines like `Alternatives: a | b` and `Tags: x, y`
    right below the heading are fields.
    """
    lines = text.splitlines()
    headings = _headings(MarkdownIt("commonmark").parse(text))
    bodies = (
        [
            "\n".join(lines[heading.ends : following.starts if following else len(lines)]).strip()
            for heading, following in zip(headings, [*headings[1:], None], strict=True)
        ]
        if headings
        else []
    )
    levels = [heading.level for heading, body in zip(headings, bodies, strict=True) if body]
    if not levels:
        raise UnreadableFile("no_headings", "Expected a heading with an answer below it for every article.")
    level = max(sorted(set(levels)), key=levels.count)
    questions = [heading for heading in headings if heading.level == level]
    for number, heading in enumerate(questions, 1):
        end = next((h.starts for h in headings if h.starts > heading.starts and h.level <= level), len(lines))
        yield Row(number, _markdown_fields(heading.title, lines[heading.ends : end]))


def _headings(tokens: list[Token]) -> list[_Heading]:
    return [
        _Heading(int(token.tag[1:]), inline.content, token.map[0], token.map[1])
        for token, inline in itertools.pairwise(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map is not None
    ]


def _markdown_fields(title: str, body: list[str]) -> dict[str, Any]:
    cells = {"question": title}
    rest = iter(body)
    answer: list[str] = []
    for line in rest:
        found = MARKDOWN_FIELD.fullmatch(line.strip())
        if found is None and line.strip():
            answer.append(line)
            break
        if found is not None:
            name = found[1].casefold()
            cells["external_id" if name == "id" else name] = found[2]
    answer.extend(rest)
    return _fields(cells | {"answer": "\n".join(answer)})
