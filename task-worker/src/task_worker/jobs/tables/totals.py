"""Rows of totals: found by their label, believed when their sums are right, then left out: nothing counts twice."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from task_worker.jobs.tables import numbers
from task_worker.jobs.tables.numbers import Convention, is_missing
from task_worker.jobs.tables.records import Sheet
from task_worker.jobs.tables.remarks import Remark, counted

LABEL = re.compile(
    r"((grand|overall|sub)?[\s-]*totals?\b.*|sum|summe|gesamt|gesamtsumme|insgesamt|zwischensumme|endsumme|somme|suma"
    r"|sous-total.*|totale?s?\b.*|totaal|subtotaal|razem|celkem|összesen|toplam|итого.*|всего|σύνολο"
    r"|合計|小計|総計|总计|合计|小计|總計|합계|총계|소계)\s*:?",
    re.IGNORECASE,
)
LONGEST_LABEL = 60
MOST = 1_000
"""Rows that may be totals; where more have such a label it is a value like others."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Places of the rows to leave out, and what to say about them."""

    rows: frozenset[int]
    remarks: tuple[Remark, ...]


def find_totals(sheet: Sheet) -> Totals:
    """The rows of totals in a sheet. One whose sums are wrong stays, and that is said."""
    likely = [place for place in range(len(sheet.lines)) if _is_label(_label(sheet, place))]
    last = len(sheet.lines) - 1
    if last > 0 and last not in likely and _is_bare(sheet, last):
        likely.append(last)
    if not likely or len(likely) > MOST or len(likely) == len(sheet.lines):
        return Totals(frozenset(), ())
    sums = _right_sums(sheet, set(likely))
    doubtful = [place for place in likely if place not in sums and _is_label(_label(sheet, place))]
    return Totals(frozenset(sums), tuple(_remarks(sheet, sorted(sums), doubtful)))


def _remarks(sheet: Sheet, sums: Sequence[int], doubtful: Sequence[int]) -> Iterator[Remark]:
    if sums:
        yield Remark(f"{counted(len(sums), 'row')} of totals left out ({_where(sheet, sums)}).")
    if doubtful:
        said = f"{counted(len(doubtful), 'row')} named like totals ({_where(sheet, doubtful)})"
        yield Remark(f"{said}: the sums do not match the rows above, so they count as records.", is_doubt=True)


def _where(sheet: Sheet, places: Sequence[int]) -> str:
    more = f" and {len(places) - 5:,} more" if len(places) > 5 else ""  # noqa: PLR2004 - as many as are named
    return "line " + ", ".join(f"{sheet.lines[place]:,}" for place in places[:5]) + more


def _is_label(text: str) -> bool:
    return len(text) <= LONGEST_LABEL and text[:1].isalpha() and LABEL.fullmatch(text) is not None


def _label(sheet: Sheet, place: int) -> str:
    return next((column[place] for column in sheet.columns if column[place]), "")


def _is_bare(sheet: Sheet, place: int) -> bool:
    """Whether a row has numbers alone, where the first column of the others is filled."""
    if sheet.columns[0][place] or not all(sheet.columns[0][:place]):
        return False
    filled = [column[place] for column in sheet.columns if column[place]]
    return bool(filled) and all(numbers.written(cell) is not None for cell in filled)


def _right_sums(sheet: Sheet, likely: set[int]) -> set[int]:
    found: set[int] = set()
    for column in sheet.columns:
        if any(numbers.written(column[place]) is not None for place in likely):
            found |= _matching(column, _values(column, sheet.delimiter), likely)
    return found


def _values(column: Sequence[str], delimiter: str) -> Mapping[str, float | int]:
    counts = dict.fromkeys(column, 1)
    filled = [cell for cell in counts if not is_missing(cell)]
    likely = Convention(",", ".") if delimiter == ";" else Convention(".", ",")
    read = numbers.read_numbers(counts, likely)
    return {} if read is None or 2 * len(read.values) < len(filled) else read.values


def _matching(column: Sequence[str], values: Mapping[str, float | int], likely: set[int]) -> set[int]:
    """Places among the likely ones where the column has the sum of all rows above, or of those since the last total."""
    found: set[int] = set()
    everything = since = 0.0
    rows = rows_since = 0
    for place, cell in enumerate(column):
        value = values.get(cell)
        if place not in likely:
            everything, since = everything + (value or 0), since + (value or 0)
            rows, rows_since = rows + 1, rows_since + 1
            continue
        if value is not None and ((rows and _same(value, everything)) or (rows_since and _same(value, since))):
            found.add(place)
        since, rows_since = 0.0, 0
    return found


def _same(value: float, total: float) -> bool:
    return math.isclose(value, total, rel_tol=1e-6, abs_tol=0.02) and value != 0
