"""The text of a table as header and rows: delimiter, quotation marks, titles, uneven rows, and what was assumed."""

import csv
import io
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from task_worker.jobs.tables.remarks import Remark, TableRefused, code, counted, examples

MAX_COLUMNS = 200
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SEP = re.compile(r"sep=(.)[,;\t|]*\r?\n?", re.IGNORECASE)
LONGEST_RECORD = 1_000
"""Lines that a cell in quotation marks may run over before the mark counts as a mistake."""
LOOK_AHEAD = 200_000
"""Lines that may be read twice for want of a closing quotation mark; from then on each line stands for itself."""
SAMPLE_LINES = 500
TITLE_LINES = 30
"""Records among which the header is looked for."""
DIGITS = re.compile(r"[-+]?[\d.,]*\d")


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of a row and the line of the file that it begins in."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as text: every row has as many cells as the header."""

    header: tuple[str, ...]
    columns: tuple[list[str], ...]
    lines: Sequence[int]
    delimiter: str
    remarks: tuple[Remark, ...]


def read_sheet(text: str) -> Sheet:
    """The table in a text. Raises TableRefused with the reason for a text that is none."""
    lines = list(io.StringIO(text, newline=""))
    remarks: list[Remark] = []
    skipped, delimiter = _told_delimiter(lines)
    if skipped:
        remarks.append(Remark(f"The first line says that cells are separated by {code(delimiter)}; it was obeyed."))
    delimiter = delimiter or best_delimiter(lines[:SAMPLE_LINES])
    if not skipped and delimiter != ",":
        remarks.append(Remark(f"Cells are separated by {DELIMITERS[delimiter]}."))
    records, odd = _records(lines, delimiter, skipped)
    if odd:
        said = f"{counted(len(odd), 'line')} with a quotation mark that does not fit: read as they stand"
        remarks.append(Remark(f"{said} ({_lines(odd)}).", is_doubt=True))
    filled = [record for record in records if any(cell.strip() for cell in record.cells)]
    if not filled:
        raise TableRefused(
            "The file has no line with text in it. Send a CSV with a header row and one line per record."
        )
    return _sheet(filled, delimiter, remarks, empty=len(records) - len(filled))


def _told_delimiter(lines: Sequence[str]) -> tuple[int, str]:
    """`sep=;` in the first line, which spreadsheets write and hide."""
    told = SEP.fullmatch(lines[0]) if lines else None
    return (1, told[1]) if told else (0, "")


def best_delimiter(lines: Sequence[str]) -> str:
    """The delimiter by which most records have the same number of cells; a comma when there is but one column."""

    def evenness(delimiter: str) -> tuple[float, int]:
        widths = [len(record.cells) for record in _records(lines, delimiter, 0)[0] if any(record.cells)]
        counts = Counter(width for width in widths if width > 1)
        if not counts:
            return 0.0, 0
        width, count = max(counts.items(), key=lambda found: (found[1], found[0]))
        return (round(count / len(widths), 1), width)

    ranked = {delimiter: evenness(delimiter) for delimiter in DELIMITERS}
    best = max((";", "\t", "|", ","), key=lambda delimiter: ranked[delimiter])
    if ranked[best][0] < 0.5:  # noqa: PLR2004 - commas in half of the lines are punctuation
        return ","
    return best


def _records(lines: Sequence[str], delimiter: str, start: int) -> tuple[list[Record], list[int]]:
    """All records, and the lines whose quotation marks do not fit: those are read one by one, as they stand."""
    csv.field_size_limit(1 << 30)
    records: list[Record] = []
    odd: list[int] = []
    at, spare = start, LOOK_AHEAD
    while at < len(lines):
        reach = LONGEST_RECORD if spare > 0 else 1
        at = _read_on(lines, delimiter, at, reach, records)
        if at < len(lines):
            odd.append(at + 1)
            records.append(Record(at + 1, _as_it_stands(lines[at], delimiter)))
            at += 1
            spare -= reach
    return records, odd


def _read_on(lines: Sequence[str], delimiter: str, at: int, reach: int, records: list[Record]) -> int:
    """Read records from line `at` on until the end or until one whose quotation marks do not fit; where that begins."""
    begin = at

    def feed() -> Iterator[str]:
        for index in range(at, len(lines)):
            if index - begin >= reach:
                return
            yield lines[index]

    reader = csv.reader(feed(), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    try:
        for cells in reader:
            records.append(Record(begin + 1, cells))
            begin = at + reader.line_num
    except csv.Error:
        return begin
    return begin


def _as_it_stands(line: str, delimiter: str) -> list[str]:
    """The cells of one line in which quotation marks are characters like others."""
    return line.rstrip("\r\n").split(delimiter)


def _sheet(records: Sequence[Record], delimiter: str, remarks: list[Remark], empty: int) -> Sheet:
    width = _usual_width(records)
    at = header_at(records[:TITLE_LINES], width)
    if at:
        titles = examples(delimiter.join(cell for cell in r.cells if cell.strip()) for r in records[:at])
        remarks.append(Remark(f"{counted(at, 'line')} above the header left out: {titles}."))
    header, body = records[at], records[at + 1 :]
    if _is_data(header.cells, body[:TITLE_LINES]):
        remarks.append(Remark("The first row looks like data, so the columns were given numbers.", is_doubt=True))
        header, body = Record(header.line, [""] * len(header.cells)), records[at:]
    if not body:
        raise TableRefused(
            "The file has a header and no rows below it. Send a CSV with one line per record under the header."
        )
    width = max(len(header.cells), *(len(record.cells) for record in body))
    if width > MAX_COLUMNS:
        raise TableRefused(
            f"The file has {width:,} columns and at most {MAX_COLUMNS} can be analysed. Send those that matter."
        )
    if empty:
        remarks.append(Remark(f"{counted(empty, 'empty line')} left out."))
    remarks += _uneven(body, len(header.cells), delimiter)
    columns = tuple(_column(body, place) for place in range(width))
    names, named = _names(header.cells, columns)
    remarks += named
    kept = [place for place in range(width) if names[place]]
    lines = array("I", (record.line for record in body))
    return Sheet(
        tuple(names[place] for place in kept), tuple(columns[place] for place in kept), lines, delimiter, tuple(remarks)
    )


def _usual_width(records: Sequence[Record]) -> int:
    counts = Counter(len(record.cells) for record in islice(records, 10_000))
    return max(counts.items(), key=lambda found: (found[1], found[0]))[0]


def header_at(records: Sequence[Record], width: int) -> int:
    """The place of the header: the first record as wide as most whose cells are filled; 0 when none is."""
    for place, record in enumerate(records):
        filled = sum(bool(cell.strip()) for cell in record.cells)
        is_whole = len(record.cells) >= width and 2 * filled >= width
        if is_whole and not _is_title(record, records[place + 1 : place + 2], filled):
            return place
    return 0


def _is_title(record: Record, following: Sequence[Record], filled: int) -> bool:
    """Whether a single text stands where the record below has words in every cell: a title padded by a spreadsheet."""
    if filled > 1 or len(record.cells) == 1 or not following or not record.cells[0].strip():
        return False
    below = [cell.strip() for cell in following[0].cells]
    return all(below) and not any(DIGITS.fullmatch(cell) for cell in below)


def _is_data(header: Sequence[str], body: Sequence[Record]) -> bool:
    """Whether the header has a number where numbers follow and nowhere a word above numbers; years may be names."""
    places = [
        place
        for place in range(len(header))
        if body and all(DIGITS.fullmatch(r.cells[place].strip()) for r in body if place < len(r.cells))
    ]
    cells = [header[place].strip() for place in places]
    if not cells or not all(DIGITS.fullmatch(cell) for cell in cells):
        return False
    are_years = all(re.fullmatch(r"(19|20)\d\d", cell) for cell in cells)
    count_on = len(cells) > 2 and all(cell.isdigit() for cell in cells) and _rises_by_one([int(cell) for cell in cells])  # noqa: PLR2004 - two may be an accident
    return not count_on and not (len(cells) > 1 and are_years)


def _rises_by_one(numbers: Sequence[int]) -> bool:
    return all(b - a == 1 for a, b in pairwise(numbers))


def _uneven(body: Sequence[Record], width: int, delimiter: str) -> Iterator[Remark]:
    short = [record.line for record in body if len(record.cells) < width]
    long = [record.line for record in body if any(cell.strip() for cell in record.cells[width:])]
    if short:
        said = f"{counted(len(short), 'row')} with fewer cells than the header ({_lines(short)})"
        yield Remark(f"{said}: the missing ones count as empty.", is_doubt=True)
    if long:
        said = f"{counted(len(long), 'row')} with more cells than the header ({_lines(long)})"
        hint = f" A {DELIMITERS.get(delimiter, delimiter)[:-1]} inside a cell needs quotation marks around the cell."
        yield Remark(f"{said}: the surplus is kept in columns of its own.{hint}", is_doubt=True)


def _lines(numbers: Sequence[int]) -> str:
    first = ", ".join(f"{number:,}" for number in numbers[:5])
    more = f" and {len(numbers) - 5:,} more" if len(numbers) > 5 else ""  # noqa: PLR2004 - as many as above
    return f"line {first}{more}"


def _column(body: Sequence[Record], place: int) -> list[str]:
    return [record.cells[place].strip() if place < len(record.cells) else "" for record in body]


def _names(header: Sequence[str], columns: Sequence[Sequence[str]]) -> tuple[list[str], list[Remark]]:
    """A name of its own for each column; "" for one that has neither a name nor a value."""
    given = [" ".join(name.split()) for name in header] + [""] * (len(columns) - len(header))
    used: set[str] = set()
    names, unnamed, doubled = [], [], []
    for place, (name, column) in enumerate(zip(given, columns, strict=True), 1):
        if not name and not any(column):
            names.append("")
            continue
        free = _free(name or f"column {place}", used)
        if not name:
            unnamed.append(free)
        elif free != name:
            doubled.append(free)
        used.add(free.casefold())
        names.append(free)
    remarks = []
    if unnamed:
        remarks.append(Remark(f"{counted(len(unnamed), 'column')} without a name: {examples(unnamed)}."))
    if doubled:
        remarks.append(Remark(f"Columns of the same name were told apart: {examples(doubled)}."))
    return names, remarks


def _free(name: str, used: set[str]) -> str:
    found, number = name, 1
    while found.casefold() in used:
        number += 1
        found = f"{name} ({number})"
    return found
