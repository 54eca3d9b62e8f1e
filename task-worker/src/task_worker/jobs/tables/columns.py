"""What each column of a table is: numbers, dates or text; decided as a whole, and what was assumed is said."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Literal

from task_worker.jobs.tables import dates, numbers
from task_worker.jobs.tables.dates import DateColumn, Grain
from task_worker.jobs.tables.numbers import Convention, NumberColumn, is_missing
from task_worker.jobs.tables.records import Sheet
from task_worker.jobs.tables.remarks import Remark, code, counted, examples
from task_worker.jobs.tables.totals import find_totals

Kind = Literal["BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR"]

ENOUGH = 0.9
"""Share of the filled cells that have to be of a kind before the others are listed as mistakes."""
LARGEST = 2**63
TRIED = 200
"""Different texts that are looked at before a column is read as dates or numbers in full."""
DATE_NAME = re.compile(
    r"(^|[\W_])(date|datum|dates|day|tag|time|timestamp|zeit|zeitpunkt|fecha|data|jour|dia|día|giorno|created|updated|dt"
    r"|ts|at|on|when|период|дата)($|[\W_])|date$|datum$|日期|日付|날짜",
    re.IGNORECASE,
)
YEAR_NAME = re.compile(
    r"(^|[\W_])(year|years|jahr|année|annee|año|ano|anno|jaar|rok|år|год|yr|fy)($|[\W_])|年|jahr$", re.IGNORECASE
)
COUNTRIES_WITH_DAYS_FIRST = frozenset(
    ["€", "£", "EUR", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "INR", "₹", "kr", "zł", "Kč", "Fr.", "R$"]
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database gets it: "" is an empty cell, everything else is written as SQL reads it."""

    name: str
    kind: Kind
    cells: Sequence[str]
    grain: Grain | None = None
    is_percent: bool = False


@dataclass(frozen=True, slots=True)
class Recognised:
    """The columns of a table, the lines that its rows stand in, and what was assumed."""

    columns: tuple[Column, ...]
    lines: Sequence[int]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class _Texts:
    """A column as it was written."""

    name: str
    cells: Sequence[str]
    counts: Mapping[str, int]

    @classmethod
    def of(cls, name: str, cells: Sequence[str]) -> "_Texts":
        return cls(name, cells, Counter(cells))

    @property
    def filled(self) -> Sequence[str]:
        """The different texts that are values."""
        return [text for text in self.counts if not is_missing(text)]

    def count(self, texts: Iterable[str]) -> int:
        """How many cells hold one of these texts."""
        return sum(self.counts[text] for text in texts)

    def mostly(self, is_such: Callable[[str], object]) -> bool:
        """Whether half of the first different texts are such."""
        tried = list(islice((text for text in self.counts if not is_missing(text)), TRIED))
        return bool(tried) and 2 * sum(is_such(text) is not None for text in tried) >= len(tried)


@dataclass(frozen=True, slots=True)
class _Habits:
    """How numbers and dates are written in this file, as far as its columns tell."""

    convention: Convention
    is_settled: bool
    order: dates.Order
    order_is_settled: bool = False


def recognise(sheet: Sheet) -> Recognised:
    """The columns of a sheet. Rows of totals are left out when their sums are right, so that nothing counts twice."""
    totals = find_totals(sheet)
    kept = [place for place in range(len(sheet.lines)) if place not in totals.rows]
    texts = [
        _Texts.of(name, [cells[place] for place in kept] if totals.rows else cells)
        for name, cells in zip(sheet.header, sheet.columns, strict=True)
    ]
    lines = [sheet.lines[place] for place in kept]
    columns, remarks = decide(texts, sheet.delimiter)
    return Recognised(tuple(columns), lines, (*totals.remarks, *remarks))


def decide(texts: Sequence[_Texts], delimiter: str) -> tuple[list[Column], list[Remark]]:
    """What each column is, once it is known how the file writes numbers and dates."""
    likely = Convention(",", ".") if delimiter == ";" else Convention(".", ",")
    tried = [(text, *_first_look(text, likely)) for text in texts]
    habits = _habits([number for _, number, _ in tried if number], [date for _, _, date in tried if date], likely)
    columns, remarks = [], []
    for text, number, date in tried:
        column, said = _column(text, *_second_look(text, number, date, habits))
        columns.append(column)
        remarks += said
    return columns, remarks


def _first_look(text: _Texts, likely: Convention) -> tuple[NumberColumn | None, DateColumn | None]:
    habits = _Habits(likely, is_settled=False, order="day first")
    date = _dates(text, habits)
    return (None if date is not None and not date.left else _numbers(text, habits)), date


def _second_look(
    text: _Texts, number: NumberColumn | None, date: DateColumn | None, habits: _Habits
) -> tuple[NumberColumn | None, DateColumn | None]:
    """What was in doubt at first, in the light of the other columns."""
    if number is not None and not number.is_certain:
        number = _numbers(text, habits)
    if date is not None and not date.is_certain:
        date = _dates(text, habits)
    return number, date


def _habits(found: Sequence[NumberColumn], dated: Sequence[DateColumn], likely: Convention) -> _Habits:
    used = {column.convention.decimal for column in found if column.is_certain and _uses_separators(column)}
    settled = used.pop() if len(used) == 1 else None
    convention = likely if settled is None else Convention(settled, "." if settled == "," else ",")
    signs = {sign for column in found for sign in column.currencies}
    days_first = convention.decimal == "," or bool(signs & COUNTRIES_WITH_DAYS_FIRST)
    habits = _Habits(convention, settled is not None, "day first" if days_first else "month first")
    orders = {column.order for column in dated if column.order is not None and column.is_certain and column.is_telling}
    return replace(habits, order=orders.pop(), order_is_settled=True) if len(orders) == 1 else habits


def _uses_separators(column: NumberColumn) -> bool:
    return bool(column.convention.grouping) or any(isinstance(value, float) for value in column.values.values())


def _numbers(text: _Texts, habits: _Habits) -> NumberColumn | None:
    if not text.mostly(numbers.written):
        return None
    return numbers.read_numbers(text.counts, habits.convention, is_settled=habits.is_settled)


def _dates(text: _Texts, habits: _Habits) -> DateColumn | None:
    if not text.mostly(dates.written):
        return None
    cells = [cell for cell in text.cells if not is_missing(cell)]
    return dates.read_dates(cells, habits.order, is_settled=habits.order_is_settled)


def _column(text: _Texts, number: NumberColumn | None, date: DateColumn | None) -> tuple[Column, list[Remark]]:
    if date is not None and text.count(date.values) >= text.count(date.left):
        return _as_dates(text, date)
    return _coded_dates(text) or (_as_text(text, []) if number is None else _as_numbers(text, number))


def _coded_dates(text: _Texts) -> tuple[Column, list[Remark]] | None:
    """Dates written as plain numbers: by the name of their column, or since every one is a date of eight digits."""
    filled = text.filled
    is_named = bool(DATE_NAME.search(text.name))
    tried: tuple[tuple[Mapping[str, datetime] | None, Grain, str], ...] = (
        (dates.read_years(filled) if YEAR_NAME.search(text.name) else None, "year", "years"),
        (dates.read_compact(filled) if is_named or len(filled) > 2 else None, "day", "dates without separators"),  # noqa: PLR2004 - by chance
        (dates.read_serials(filled) if is_named else None, "day", "the day numbers of a spreadsheet"),
        (dates.read_seconds(filled) if is_named else None, "day", "seconds since 1970 (UTC)"),
    )
    for values, grain, what in tried:
        if values:
            example, moment = next(iter(values.items()))
            said = f"{code(text.name)}: the numbers were read as {what}: {code(example)} is {moment:%Y-%m-%d}."
            return _dated(text, values, grain), [Remark(said, is_doubt=grain != "year")]
    return None


def _as_dates(text: _Texts, found: DateColumn) -> tuple[Column, list[Remark]]:
    if not _is_enough(text, found.left):
        return _as_text(text, [_stays(text, found.left, "dates")])
    column = _dated(text, found.values, found.grain)
    return column, [*_date_remarks(text, found), *_remainder(text, found.left, "dates")]


def _dated(text: _Texts, values: Mapping[str, datetime], grain: Grain) -> Column:
    has_times = any(moment.hour or moment.minute or moment.second or moment.microsecond for moment in values.values())
    pattern = "%Y-%m-%d %H:%M:%S.%f" if has_times else "%Y-%m-%d"
    shown = {cell: _padded(moment.strftime(pattern)) for cell, moment in values.items()}
    kind: Kind = "TIMESTAMP" if has_times else "DATE"
    return Column(text.name, kind, [shown.get(cell, "") for cell in text.cells], grain)


def _padded(date: str) -> str:
    """Years before 1000 with four digits, which `strftime` leaves out."""
    return date.rjust(len(date) + 4 - date.index("-"), "0")


def _as_numbers(text: _Texts, found: NumberColumn) -> tuple[Column, list[Remark]]:
    if numbers.has_leading_zeros(text.filled):
        said = f"{code(text.name)} has digits with zeros in front, as codes have: it was kept as text."
        return _as_text(text, [Remark(said)])
    if numbers.is_too_long(text.filled):
        said = f"{code(text.name)} has more digits than a number keeps, as account numbers have: it was kept as text."
        return _as_text(text, [Remark(said)])
    if not _is_enough(text, found.left):
        return _as_text(text, [_stays(text, found.left, "numbers")])
    whole = all(isinstance(value, int) and abs(value) < LARGEST for value in found.values.values())
    shown = {cell: repr(value) for cell, value in found.values.items()}
    column = Column(
        text.name,
        "BIGINT" if whole else "DOUBLE",
        [shown.get(cell, "") for cell in text.cells],
        is_percent=found.percents > 0 and 2 * found.percents >= text.count(found.values),
    )
    return column, [*_number_remarks(text, found), *_remainder(text, found.left, "numbers")]


def _as_text(text: _Texts, remarks: list[Remark]) -> tuple[Column, list[Remark]]:
    return Column(text.name, "VARCHAR", text.cells), remarks


def _is_enough(text: _Texts, left: Sequence[str]) -> bool:
    """Whether what does not fit are single mistakes: a tenth at most, and no second way of writing values."""
    if text.count(left) > (1 - ENOUGH) * text.count(text.filled) + 1e-9:
        return False
    patterns: Counter[str] = Counter()
    for cell in left:
        if any(character.isdigit() for character in cell):
            patterns[re.sub(r"\d+", "0", cell)] += text.counts[cell]
    return max(patterns.values(), default=0) < 2  # noqa: PLR2004 - two alike are no accident


def _stays(text: _Texts, left: Sequence[str], what: str) -> Remark:
    cells = f"{text.count(left):,} of {counted(text.count(text.filled), 'cell')}"
    return Remark(f"{code(text.name)} was kept as text: {cells} are no {what} ({examples(left)}).", is_doubt=True)


def _remainder(text: _Texts, left: Sequence[str], what: str) -> Iterator[Remark]:
    """Cells that the figures leave out, by name."""
    missing = [cell for cell in text.counts if cell and is_missing(cell)]
    if missing:
        cells = counted(text.count(missing), "cell")
        yield Remark(f"{code(text.name)}: {examples(missing)} ({cells}) counts as empty.")
    if left:
        cells = counted(text.count(left), "cell")
        yield Remark(
            f"{code(text.name)}: {cells} that are no {what} are left out of its figures: {examples(left)}.",
            is_doubt=True,
        )


SEPARATORS = {",": "comma", ".": "point", " ": "space", "'": "apostrophe", "": "nothing"}


def _number_remarks(text: _Texts, found: NumberColumn) -> Iterator[Remark]:
    name, convention = code(text.name), found.convention
    if not found.is_certain:
        yield _unsure(text, found)
    elif convention.grouping or (convention.decimal == "," and _uses_separators(found)):
        example = next(cell for cell in found.values if re.search(r"\d[^\d]\d", cell))
        yield Remark(f"{name}: {code(example)} was read as {found.values[example]}.")
    if len(found.currencies) > 1:
        signs = examples(found.currencies)
        yield Remark(f"{name} mixes currencies ({signs}); its sums add them up as they stand.", is_doubt=True)
    elif found.currencies:
        yield Remark(f"{name}: amounts in {code(found.currencies[0])}.")
    if found.percents:
        yield _percents(text, found)
    if found.brackets:
        yield Remark(f"{name}: numbers in brackets are below zero.")


def _unsure(text: _Texts, found: NumberColumn) -> Remark:
    decimal = found.convention.decimal
    separated = (cell for cell in found.values if set(cell) & set(".,"))
    example = next(separated)
    other = numbers.value_of(_written(example), "," if decimal == "." else ".")
    said = f"{code(text.name)}: {code(example)} was read as {found.values[example]}; it could also mean {other}."
    return Remark(f"{said} Write numbers without separators of thousands to be sure.", is_doubt=True)


def _written(cell: str) -> numbers.Written:
    found = numbers.written(cell)
    assert found is not None  # noqa: S101 - only cells that were read as numbers are asked for
    return found


def _percents(text: _Texts, found: NumberColumn) -> Remark:
    filled = text.count(found.values)
    if found.percents == filled:
        return Remark(f"{code(text.name)}: 12 % was read as 12; the column is averaged, not added up.")
    said = f"{code(text.name)}: {found.percents:,} of {counted(filled, 'cell')} have a percent sign and the others none"
    return Remark(f"{said}; all were taken for the same unit.", is_doubt=True)


def _date_remarks(text: _Texts, found: DateColumn) -> Iterator[Remark]:
    name = code(text.name)
    example, moment = max(found.values.items(), key=lambda value: (value[1].day != value[1].month, value[1]))
    read = f"{name}: {code(example)} was read as {_padded(moment.strftime('%Y-%m-%d'))}"
    if found.order is not None and not found.is_certain:
        hint = "Write dates as 2024-01-31 to be sure."
        yield Remark(f"{read} ({found.order}), since {found.reason}; that is not certain. {hint}", is_doubt=True)
    elif found.order is not None:
        yield Remark(f"{read} ({found.order}).")
    elif found.grain != "day":
        yield Remark(f"{read}: each {found.grain} stands for its first day.")
    if found.short_years:
        yield Remark(f"{name}: years of two digits are from {1900 + dates.CENTURY} to {1999 + dates.CENTURY}.")
    if found.zones:
        yield Remark(f"{name}: times with an offset were turned into UTC.")
