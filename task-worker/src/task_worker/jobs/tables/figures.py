"""What a recognised table says: quality, distributions, the trend by a column of dates, and who moved most."""

# ruff: noqa: S608 - the queries are made of the file's own quoted column names and run in a sealed database
import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from task_worker.domain.period import Period
from task_worker.domain.report import Finding, change, escape, share, shown
from task_worker.jobs.frames import MIB, Frame, database
from task_worker.jobs.tables.columns import Column, Recognised
from task_worker.jobs.tables.dates import GRAINS, Grain

SHOWN_COLUMNS = 5
"""Columns of each sort whose distribution is shown; those that the description names come first."""
IDENTIFIER = re.compile(r"(^|[_\s])(id|key|code|zip|phone|number|no|nr)$", re.IGNORECASE)
AMOUNT = re.compile(
    r"amount|total|revenue|sales|turnover|value|price|quantity|qty|units|cost|count|betrag|umsatz|menge|preis|summe"
    r"|montant|prix|importe|monto|importo|金额|金額|금액|сумма",
    re.IGNORECASE,
)

ROWS = "SELECT count(*) AS rows FROM data"
SUMMARIZE = """
SELECT column_name AS "column", column_type AS type, null_percentage AS empty_percent, approx_unique AS about_distinct,
       left(min, 40) AS smallest, left(max, 40) AS largest, left(avg, 20) AS mean
FROM (SUMMARIZE data)"""
DUPLICATES = "SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT * FROM data)) AS duplicates FROM data"
DISTINCT = "SELECT column_name, approx_unique FROM (SUMMARIZE data)"
CATEGORY_LIMIT = 200
LONGEST_LINE = 32 * MIB
"""Longer than any file that may be sent: a record is never too long."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be found out about which file."""

    description: str
    name: str
    period: Period
    before: Period


@dataclass(frozen=True, slots=True)
class Measured:
    """A column with how many different values it has."""

    column: Column
    distinct: int

    @property
    def name(self) -> str:
        """The name of the column."""
        return self.column.name

    @property
    def sql(self) -> str:
        """The column's name as SQL writes it."""
        return quoted(self.column.name)

    @property
    def is_number(self) -> bool:
        """Whether it can be added up."""
        return self.column.kind in ("BIGINT", "DOUBLE")


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a file by what they are good for, the likeliest first."""

    numbers: tuple[Measured, ...]
    dates: tuple[Measured, ...]
    names: tuple[Measured, ...]

    @property
    def measure(self) -> Measured | None:
        """The column that counts, if there is one; shares in percent only where there is nothing to add up."""
        counting = [number for number in self.numbers if not IDENTIFIER.search(number.name)]
        return next((n for n in counting if not n.column.is_percent), counting[0] if counting else None)

    @property
    def date(self) -> Measured | None:
        """The column to order by time."""
        return self.dates[0] if self.dates else None


@dataclass(frozen=True, slots=True)
class Span:
    """Two stretches of time to compare, as SQL conditions and in words; `is_named` when the description named it."""

    now: str
    before: str
    label: str
    before_label: str
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found, by sort."""

    rows: int
    shape: Shape
    span: Span | None
    note: str
    quality: tuple[Finding, ...]
    distributions: tuple[Finding, ...]
    trend: tuple[Finding, ...]
    movers: tuple[Finding, ...]


def quoted(name: str) -> str:
    """An identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def figures(order: Order, table: Recognised, folder: Path, memory: int) -> Figures:
    """The figures of a table; `folder` is for the file that the database reads, `memory` is in MiB."""
    with loaded(table, folder / "data.csv", memory) as connection:
        frame = Frame(connection)
        shape = _shape(frame, table.columns, order.description)
        span, note = _span(frame, shape.date, order)
        rows = len(table.lines)
        return Figures(
            rows,
            shape,
            span,
            note,
            quality=tuple(_quality(frame, rows, table.columns)),
            distributions=tuple(_distributions(frame, shape)),
            trend=tuple(_trend(frame, shape, span)),
            movers=tuple(_movers(frame, shape, span)),
        )


@contextmanager
def loaded(table: Recognised, path: Path, memory: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """The rows as table `data`: written out in one plain dialect, so that nothing is left for the database to guess."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(zip(*(column.cells for column in table.columns), strict=True))
    types = ", ".join(f"{_literal(column.name)}: {_literal(column.kind)}" for column in table.columns)
    load = f"""
CREATE TABLE data AS SELECT * FROM read_csv($1, auto_detect = false, header = false, delim = ',', quote = '"',
    escape = '"', nullstr = '', new_line = '\\r\\n', parallel = false, max_line_size = {LONGEST_LINE},
    columns = {{{types}}})"""
    with database(memory, reads=path) as connection:
        connection.execute(load, [str(path)])
        path.unlink()
        yield connection


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _shape(frame: Frame, columns: Sequence[Column], description: str) -> Shape:
    words = set(re.findall(r"\w+", description.casefold()))
    counts = {str(name): int(float(count or 0)) for name, count in frame.rows(DISTINCT)}
    measured = [Measured(column, counts[column.name]) for column in columns]

    def named(column: Measured) -> int:
        """How many words of the column's name the description has, plurals included."""
        parts = re.findall(r"\w+", column.name.casefold().replace("_", " "))
        return sum(part in words or f"{part}s" in words or part.rstrip("s") in words for part in parts)

    def likelihood(column: Measured) -> tuple[int, bool]:
        return -named(column), not AMOUNT.search(column.name)

    return Shape(
        numbers=tuple(sorted((c for c in measured if c.is_number and c.distinct), key=likelihood)),
        dates=tuple(sorted((c for c in measured if c.column.grain and c.distinct), key=lambda c: -named(c))),
        names=tuple(
            sorted(
                (c for c in measured if c.column.kind == "VARCHAR" and 2 <= c.distinct <= CATEGORY_LIMIT),  # noqa: PLR2004 - one value tells nothing
                key=lambda c: (-named(c), c.distinct),
            )
        ),
    )


def _span(frame: Frame, date: Measured | None, order: Order) -> tuple[Span | None, str]:
    """What to compare: the named period with the one before, else the later half of the file with the earlier."""
    if date is None:
        return None, "there is no column of dates, so there is no trend"
    first, last = frame.rows(f"SELECT min({date.sql})::TIMESTAMP, max({date.sql})::TIMESTAMP FROM data")[0]
    covers = f"the file covers {str(first)[:10]} to {str(last)[:10]} by `{escape(date.name)}`"
    if order.period.phrase is not None:
        named = Span(
            _between(date, order.period),
            _between(date, order.before),
            f"in {order.period.label}",
            f"in {order.before.label}",
            is_named=True,
        )
        if frame.number(f"SELECT count(*) FROM data WHERE {named.now}"):
            return named, covers
        covers += f"; it has no row in {order.period.label}, so the whole file is shown"
    halves = _halves(frame, date)
    return (halves if first != last else None), covers


def _halves(frame: Frame, date: Measured) -> Span:
    """The later half of the file against the earlier; days stay whole."""
    middle = f"min({date.sql}) + (max({date.sql}) - min({date.sql})) / 2"
    if date.column.kind == "DATE":
        middle = f"min({date.sql}) + ceil((max({date.sql}) - min({date.sql})) / 2)::INTEGER"
    split = str(frame.rows(f"SELECT {middle} FROM data")[0][0])
    named = split[:10] if date.column.kind == "DATE" else split[:16].replace("T", " ")
    at = f"TIMESTAMP '{split}'"
    return Span(f"{date.sql} >= {at}", f"{date.sql} < {at}", f"from {named} on", f"before {named}")


def _between(date: Measured, period: Period) -> str:
    since, until = (moment.strftime("%Y-%m-%d %H:%M:%S") for moment in (period.since, period.until))
    return f"{date.sql} >= TIMESTAMP '{since}' AND {date.sql} < TIMESTAMP '{until}'"


def _quality(frame: Frame, rows: int, columns: Sequence[Column]) -> Iterator[Finding]:
    yield Finding("Rows", rows, ROWS)
    yield frame.tabled("Columns", len(columns), SUMMARIZE)
    duplicates = int(frame.number(DUPLICATES))
    yield Finding("Rows that repeat another", duplicates, DUPLICATES, f"{share(duplicates, rows)} % of all rows.")
    empty = (
        "SELECT "
        + " + ".join(f"count(*) - count({quoted(column.name)})" for column in columns)
        + " AS empty_cells FROM data"
    )
    cells = int(frame.number(empty))
    yield Finding("Empty cells", cells, empty, f"{share(cells, rows * len(columns))} % of all cells.")


def _distributions(frame: Frame, shape: Shape) -> Iterator[Finding]:
    for column in [number for number in shape.numbers if not IDENTIFIER.search(number.name)][:SHOWN_COLUMNS]:
        query = (
            f"SELECT min({column.sql}) AS smallest, quantile_cont({column.sql}, 0.25) AS lower_quarter,\n"
            f"       median({column.sql}) AS median, quantile_cont({column.sql}, 0.75) AS upper_quarter,\n"
            f"       max({column.sql}) AS largest, avg({column.sql}) AS mean, stddev({column.sql}) AS deviation,\n"
            f"       sum({column.sql}) AS total\n"
            f"FROM data"
        )
        table = frame.table(query)
        yield Finding(f"Median of {column.name}", table.rows[0][2], query, "", table)
    for column in shape.names[:SHOWN_COLUMNS]:
        query = (
            f"SELECT {column.sql} AS value, count(*) AS rows,\n"
            f"       round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent\n"
            f"FROM data GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10"
        )
        table = frame.table(query)
        yield Finding(f"Most frequent {column.name}", table.rows[0][0], query, f"In {table.rows[0][1]:,} rows.", table)


def _trend(frame: Frame, shape: Shape, span: Span | None) -> Iterator[Finding]:
    date = shape.date
    if date is None or span is None:
        return
    amount, name = _amount(shape)
    where = f"WHERE {span.now}" if span.is_named else f"WHERE {date.sql} IS NOT NULL"
    first, last, days = frame.rows(
        f"SELECT min({date.sql})::DATE, max({date.sql})::DATE, max({date.sql})::DATE - min({date.sql})::DATE "
        f"FROM data {where}"
    )[0]
    grain = _grain(int(float(days or 0)), date.column.grain or "day")
    rows = ", count(*) AS rows" if shape.measure else ""
    query = (
        f"SELECT {LABELS[grain].format(date=date.sql)} AS {grain},\n"
        f"       {amount} AS {quoted(name)}{rows}\n"
        f"FROM data {where} GROUP BY 1 ORDER BY 1"
    )
    table = frame.table(query)
    known = [row for row in table.rows if row[1] is not None]
    if known:
        best = max(known, key=lambda row: float(row[1] or 0))
        yield Finding(f"Best {grain} by {name}", best[0], query, f"{name} {shown(best[1])} ({first} to {last}).", table)
    yield _changed(frame, shape, span)


def _changed(frame: Frame, shape: Shape, span: Span) -> Finding:
    """How the amount moved; in percent only where a percentage of what was before means something."""
    amount, name = _amount(shape)
    both = f"SELECT {_filtered(amount, span.now)} AS now, {_filtered(amount, span.before)} AS before FROM data"
    now, before = (float(value or 0) for value in frame.rows(both)[0])
    detail = f"{name} {span.label}: {shown(now)}; {change(now, before)} {span.before_label}."
    if before > 0 and now >= 0:
        moved = round(100 * (now - before) / before, 1)
        return Finding(f"Change of {name} in percent", moved, both, detail, frame.table(both))
    return Finding(f"Change of {name}", round(now - before, 6), both, detail, frame.table(both))


def _movers(frame: Frame, shape: Shape, span: Span | None) -> Iterator[Finding]:
    if span is None:
        return
    amount, name = _amount(shape)
    for column in shape.names[:SHOWN_COLUMNS]:
        query = (
            f"SELECT value, now, before, now - before AS change FROM (\n"
            f"    SELECT {column.sql} AS value, coalesce({_filtered(amount, span.now)}, 0) AS now,\n"
            f"           coalesce({_filtered(amount, span.before)}, 0) AS before\n"
            f"    FROM data GROUP BY 1)\n"
            f"WHERE now <> before ORDER BY abs(now - before) DESC, value LIMIT 10"
        )
        table = frame.table(query)
        if table.rows:
            top = table.rows[0]
            detail = f"{name} {shown(top[1])} {span.label} against {shown(top[2])} {span.before_label}."
            yield Finding(f"Top mover by {column.name}", top[0], query, detail, table)


def _amount(shape: Shape) -> tuple[str, str]:
    """What is counted as SQL, and its name: rows, a sum, or an average of percentages."""
    measure = shape.measure
    if measure is None:
        return "count(*)", "rows"
    if measure.column.is_percent:
        return f"avg({measure.sql})", f"average {measure.name}"
    return f"sum({measure.sql})", measure.name


def _filtered(amount: str, condition: str) -> str:
    return f"{amount} FILTER ({condition})"


LABELS: dict[Grain, str] = {
    "day": "strftime({date}, '%Y-%m-%d')",
    "week": "strftime(date_trunc('week', {date}), '%Y-%m-%d')",
    "month": "strftime({date}, '%Y-%m')",
    "quarter": "year({date}) || '-Q' || quarter({date})",
    "year": "strftime({date}, '%Y')",
}


def _grain(days: int, finest: Grain) -> Grain:
    """Days of two months fit on a page, months of six years; never finer than the dates themselves."""
    fitting: Grain = "day" if days <= 62 else "month" if days <= 6 * 366 else "year"  # noqa: PLR2004 - as it says
    return max(fitting, finest, key=GRAINS.index)
