"""Files of articles, read into rows: CSV, JSON, JSON lines and Markdown.

What a file may cost is bounded here by its rows and headings, and in `clients.import_child`, which runs this, by memory
and time.
"""

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
NOT_TEXT = (
    (
        b"PK\x03\x04",
        "The file is an Excel workbook or another ZIP archive, whatever its name: save it as CSV in UTF-8.",
    ),
    (b"\xd0\xcf\x11\xe0", "The file is an old Excel or Word document, whatever its name: save it as CSV in UTF-8."),
    (b"\x1f\x8b", "The file is compressed with gzip: unpack it and send what was in it."),
    (b"BZh", "The file is compressed with bzip2: unpack it and send what was in it."),
    (b"\xfd7zXZ", "The file is compressed with xz: unpack it and send what was in it."),
    (b"%PDF-", "The file is a PDF document: send its questions and answers as CSV, JSON or Markdown."),
)
"""How files begin that are no text, and what to do instead."""
COLUMNS_NAMED = 10
LONGEST_NAME = 40
LINE_END = re.compile(r"\r\n?|\n")
HEADING = re.compile(r"^ {0,3}(?:#{1,6}(?:\s|$)|=+[ \t]*$|-+[ \t]*$)", re.MULTILINE)
"""A line that makes a heading, or may: enough to count before anything is parsed."""
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


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent."""

    file_format: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask for; more is refused as a whole, and the refusal names the bound."""

    rows: int = 100_000
    headings: int = 100_000


def format_of(file_name: str, media_type: str) -> str | None:
    """Which format a file is in, by its name, else by its media type; None when neither says."""
    by_name = {"csv": "csv", "tsv": "csv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl"}
    by_name |= {"md": "markdown", "markdown": "markdown"}
    by_type = {"text/csv": "csv", "application/csv": "csv", "text/tab-separated-values": "csv"}
    by_type |= {"application/json": "json", "application/jsonl": "jsonl", "application/x-ndjson": "jsonl"}
    by_type |= {"text/markdown": "markdown", "text/x-markdown": "markdown"}
    extension = file_name.rpartition(".")[2].lower()
    return by_name.get(extension) or by_type.get(media_type.partition(";")[0].strip().lower())


def read_rows(upload: Upload, limits: Limits = Limits()) -> list[Row]:
    """The rows of a file; raises UnreadableFile."""
    readers: dict[str, Callable[[str, Limits], Iterator[Row]]] = {
        "csv": _csv_rows,
        "json": _json_rows,
        "jsonl": _jsonl_rows,
        "markdown": _markdown_rows,
    }
    rows = readers[upload.file_format](_text(upload.content), limits)
    read = list(itertools.islice(rows, limits.rows + 1))
    if len(read) > limits.rows:
        raise UnreadableFile(
            "too_many_rows", f"The file has more than {limits.rows} articles, the most that one import takes: split it."
        )
    return read


def _text(content: bytes) -> str:
    no_text = next((message for begins, message in NOT_TEXT if content.startswith(begins)), None)
    if no_text is not None:
        raise UnreadableFile("not_text", no_text)
    mark, encoding = next(((m, e) for m, e in BYTE_ORDER_MARKS if content.startswith(m)), (b"", "utf-8"))
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        raise UnreadableFile(
            "invalid_encoding",
            f"Line {line} is not {encoding.upper()} text; it may be Latin-1 or Windows-1252: save the file as UTF-8.",
        ) from error


def _csv_rows(text: str, _limits: Limits) -> Iterator[Row]:
    first_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    csv.field_size_limit(LARGEST_CELL)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next((line for line in lines if any(cell.strip() for cell in line)), [])
        names = [cell.strip().casefold().replace(" ", "_") for cell in header]
        if not {"question", "answer"} <= set(names):
            raise UnreadableFile("missing_header", _missing_header(header))
        filled = (line for line in lines if any(cell.strip() for cell in line))
        for number, line in enumerate(filled, 1):
            yield _csv_row(number, names, line)
    except csv.Error as error:
        raise UnreadableFile("invalid_csv", f"Line {lines.line_num} is not readable: {error}.") from error


def _missing_header(header: list[str]) -> str:
    """Which columns there are instead: the first line may be a title, or the names may be in another language."""
    wanted = "The first line must name the columns question and answer"
    if not header:
        return f"{wanted}; the file is empty."
    named = ", ".join(cell.strip()[:LONGEST_NAME] or "(no name)" for cell in header[:COLUMNS_NAMED])
    more = f" and {len(header) - COLUMNS_NAMED} more" if len(header) > COLUMNS_NAMED else ""
    return f"{wanted}; it names: {named}{more}."


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


def _json_rows(text: str, _limits: Limits) -> Iterator[Row]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableFile("invalid_json", f"The file is not JSON: line {error.lineno}.") from error
    if isinstance(value, dict):
        value = value.get("articles", [value])
    if not isinstance(value, list):
        raise UnreadableFile("invalid_json", 'Expected a list of articles, or {"articles": […]}.')
    for number, each in enumerate(value, 1):
        yield _object_row(number, each)


def _jsonl_rows(text: str, _limits: Limits) -> Iterator[Row]:
    filled = (line for line in io.StringIO(text, newline="\n") if line.strip())
    for number, line in enumerate(filled, 1):
        try:
            yield _object_row(number, orjson.loads(line))
        except orjson.JSONDecodeError:
            yield Row(number, {}, UnreadableRow("invalid_json", "The line is not JSON."))


def _object_row(number: int, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(number, {}, UnreadableRow("not_an_object", "Expected an article object."))
    return Row(number, value)


# Only the blocks: what is inside a line is kept as it is, and parsing it cost 1.4 kB a heading.
_blocks = MarkdownIt("commonmark").disable("inline")


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    title: str
    starts: int
    ends: int


def _markdown_rows(text: str, limits: Limits) -> Iterator[Row]:
    """One article per heading that has text of its own, on the level where most of them are.

    Deeper headings belong to the answer, higher ones are sections. Lines like `Alternatives: a | b` and `Tags: x, y`
    right below the heading are fields.
    """
    if sum(1 for _ in itertools.islice(HEADING.finditer(text), limits.headings + 1)) > limits.headings:
        raise UnreadableFile(
            "too_many_headings", f"The file has more than {limits.headings} headings or rules: split it."
        )
    lines = LINE_END.split(text)
    headings = _headings(_blocks.parse(text))
    starts = [heading.starts for heading in headings[1:]] + [len(lines)]
    levels = (
        [
            heading.level
            for heading, following in zip(headings, starts, strict=True)
            if any(line.strip() for line in lines[heading.ends : following])
        ]
        if headings
        else []
    )
    if not levels:
        raise UnreadableFile("no_headings", "Expected a heading with an answer below it for every article.")
    level = max(sorted(set(levels)), key=levels.count)
    for number, (heading, end) in enumerate(_sections(headings, level, len(lines)), 1):
        yield Row(number, _markdown_fields(heading.title, lines[heading.ends : end]))


def _sections(headings: list[_Heading], level: int, last: int) -> list[tuple[_Heading, int]]:
    """The headings of a level, each with the line where the next one that is not deeper begins."""
    found: list[tuple[_Heading, int]] = []
    end = last
    for heading in reversed(headings):
        if heading.level == level:
            found.append((heading, end))
        if heading.level <= level:
            end = heading.starts
    return found[::-1]


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
