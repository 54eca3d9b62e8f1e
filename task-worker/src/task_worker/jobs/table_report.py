"""What a CSV says: schema and quality, distributions, the trend by a date column, and who moved most."""

# ruff: noqa: S608 - the queries are made of the file's own quoted column names and run in a sealed database
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from task_worker.domain.period import Period
from task_worker.domain.report import Finding, Report, Section, change, escape, share, shown
from task_worker.jobs.frames import Frame, database

MAX_COLUMNS = 200
SHOWN_COLUMNS = 5
"""Columns of each sort whose distribution is shown; those that the description names come first."""
NUMERIC = re.compile(r"(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|U\w+INT\w*|FLOAT|DOUBLE|DECIMAL.*)")
TEMPORAL = re.compile(r"(DATE|TIMESTAMP.*)")
IDENTIFIER = re.compile(r"(^|[_\s])(id|key|code|zip|phone|number|no|nr)$", re.IGNORECASE)
AMOUNT = re.compile(r"amount|total|revenue|sales|turnover|value|price|quantity|qty|units|cost|count", re.IGNORECASE)

LOAD = """
CREATE TABLE data AS SELECT * FROM read_csv($1, header = true, sample_size = -1, ignore_errors = true,
    store_rejects = true, max_line_size = 1000000, null_padding = true)"""
ROWS = "SELECT count(*) AS rows FROM data"
SUMMARIZE = """
SELECT column_name AS "column", column_type AS type, null_percentage AS empty_percent, approx_unique AS about_distinct,
       left(min, 40) AS smallest, left(max, 40) AS largest, left(avg, 20) AS mean
FROM (SUMMARIZE data)"""
DUPLICATES = "SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT * FROM data)) AS duplicates FROM data"
REJECTED = "SELECT count(DISTINCT line) AS rows FROM reject_errors"
CATEGORY_LIMIT = 200
MOSTLY = 0.9
"""Share of the filled cells of a column that have to be of a type before the rest counts as mistakes."""
DECIMAL_COMMA = """
CASE WHEN regexp_full_match({column}, '-?[0-9]+(,[0-9]+)?') THEN try_cast(replace({column}, ',', '.') AS DOUBLE) END"""
CONVERSIONS = (
    ("TIMESTAMP", "try_strptime({column}, ['%Y-%m-%d', '%d.%m.%Y', '%m/%d/%Y', '%Y-%m-%d %H:%M:%S'])"),
    ("DOUBLE", "try_cast({column} AS DOUBLE)"),
    ("DOUBLE", DECIMAL_COMMA),
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be found out about which file."""

    description: str
    name: str
    period: Period
    before: Period


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    distinct: int

    @property
    def sql(self) -> str:
        """The column's name as SQL writes it."""
        return quoted(self.name)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The columns of a file by what they are good for, the likeliest first."""

    numbers: tuple[_Column, ...]
    dates: tuple[_Column, ...]
    names: tuple[_Column, ...]

    @property
    def measure(self) -> _Column | None:
        """The column that counts, if there is one."""
        return next((column for column in self.numbers if not IDENTIFIER.search(column.name)), None)

    @property
    def date(self) -> _Column | None:
        """The column to order by time."""
        return self.dates[0] if self.dates else None


@dataclass(frozen=True, slots=True)
class _Span:
    """Two stretches of time to compare, as SQL conditions and in words; `is_named` when the description named it."""

    now: str
    before: str
    label: str
    before_label: str
    is_named: bool = False


def quoted(name: str) -> str:
    """An identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def table_report(order: Order, path: Path, memory: int) -> Report:
    """The report on a file; raises duckdb.Error when it is no table."""
    with _loaded(path, memory) as connection:
        frame = Frame(connection)
        rows = int(frame.number(ROWS))
        columns = _columns(frame)
        mended = _mend(connection, frame, columns)
        columns = _columns(frame) if mended else columns
        if len(columns) > MAX_COLUMNS or not frame.number(_filled(columns)):
            return unreadable(order, f"{rows} rows and {len(columns)} columns")
        shape = _shape(columns, order.description)
        span, note = _span(frame, shape.date, order)
        sections = (
            Section("What was looked at", text=_looked_at(order, rows, columns, shape, note)),
            Section("Schema and quality", tuple(_quality(frame, rows, columns, mended))),
            Section("Distributions", tuple(_distributions(frame, shape))),
            Section("Trend", tuple(_trend(frame, shape, span))),
            Section("Movers", tuple(_movers(frame, shape, span))),
        )
    kept = tuple(section for section in sections if section.findings or section.text)
    return Report(f"Analysis of {order.name}", _summary(order, rows, columns, kept), kept, _extra(order, rows, span))


@contextmanager
def _loaded(path: Path, memory: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as table `data`."""
    with database(memory, reads=path) as connection:
        connection.execute(LOAD, [str(path)])
        yield connection


def _columns(frame: Frame) -> list[_Column]:
    rows = frame.rows("SELECT column_name, column_type, approx_unique FROM (SUMMARIZE data)")
    return [_Column(str(name), str(kind), int(float(distinct or 0))) for name, kind, distinct in rows]


def _shape(columns: Sequence[_Column], description: str) -> _Shape:
    words = set(re.findall(r"[a-z0-9]+", description.lower()))

    def named(column: _Column) -> int:
        """How many words of the column's name the description has, plurals included."""
        parts = re.findall(r"[a-z0-9]+", column.name.lower())
        return sum(part in words or f"{part}s" in words or part.rstrip("s") in words for part in parts)

    def likelihood(column: _Column) -> tuple[int, bool]:
        return -named(column), not AMOUNT.search(column.name)

    return _Shape(
        numbers=tuple(sorted((c for c in columns if NUMERIC.fullmatch(c.type)), key=likelihood)),
        dates=tuple(sorted((c for c in columns if TEMPORAL.fullmatch(c.type)), key=lambda c: -named(c))),
        names=tuple(
            sorted(
                (c for c in columns if c.type in ("VARCHAR", "BOOLEAN") and 2 <= c.distinct <= CATEGORY_LIMIT),  # noqa: PLR2004 - one value tells nothing
                key=lambda c: (-named(c), c.type == "BOOLEAN", c.distinct),
            )
        ),
    )


def _span(frame: Frame, date: _Column | None, order: Order) -> tuple[_Span | None, str]:
    """What to compare: the named period with the one before, else the later half of the file with the earlier."""
    if date is None:
        return None, "there is no column of dates, so there is no trend"
    first, last = frame.rows(f"SELECT min({date.sql})::TIMESTAMP, max({date.sql})::TIMESTAMP FROM data")[0]
    covers = f"the file covers {str(first)[:10]} to {str(last)[:10]} by `{escape(date.name)}`"
    if order.period.phrase is not None:
        named = _Span(
            _between(date, order.period),
            _between(date, order.before),
            f"in {order.period.label}",
            f"in {order.before.label}",
            is_named=True,
        )
        if frame.number(f"SELECT count(*) FROM data WHERE {named.now}"):
            return named, covers
        covers += f"; it has no row in {order.period.label}, so the whole file is shown"
    middle = frame.rows(
        f"SELECT min({date.sql})::TIMESTAMP + (max({date.sql})::TIMESTAMP - min({date.sql})::TIMESTAMP) / 2 FROM data"
    )[0][0]
    split = f"TIMESTAMP '{middle}'"
    halves = _Span(
        f"{date.sql} >= {split}", f"{date.sql} < {split}", f"from {str(middle)[:10]} on", f"before {str(middle)[:10]}"
    )
    return (halves if first != last else None), covers


def _between(date: _Column, period: Period) -> str:
    since, until = (moment.strftime("%Y-%m-%d %H:%M:%S") for moment in (period.since, period.until))
    return f"{date.sql} >= TIMESTAMP '{since}' AND {date.sql} < TIMESTAMP '{until}'"


def _looked_at(order: Order, rows: int, columns: Sequence[_Column], shape: _Shape, note: str) -> str:
    measure = shape.measure
    period = order.period.describe() if order.period.phrase else "the whole file; the description names none"
    amounts = f"the sum of `{escape(measure.name)}`" if measure else "rows, for want of a column of numbers"
    return "\n".join(
        (
            f'- Asked for: "{escape(order.description)[:300]}"',
            f"- File: `{order.name}`, {rows:,} rows and {len(columns)} columns; below it is the table `data`",
            f"- Period: {period}",
            f"- Time: {note}",
            f"- Amounts: {amounts}",
        )
    )


def _mend(connection: duckdb.DuckDBPyConnection, frame: Frame, columns: Sequence[_Column]) -> list[Finding]:
    """Give columns of text that are numbers or dates but for a few cells their type; what did not fit, by column."""
    found = []
    for column in columns[:MAX_COLUMNS]:
        if column.type != "VARCHAR":
            continue
        for kind, converted in ((name, text.format(column=column.sql)) for name, text in CONVERSIONS):
            query = f"SELECT count({column.sql}), count({converted}) FROM data"
            filled, fitting = (int(float(value or 0)) for value in frame.rows(query)[0])
            if filled and fitting >= MOSTLY * filled:
                query = f"SELECT count({column.sql}) - count({converted}) AS cells FROM data"
                detail = f"It was read as {kind.lower()}; these cells count as empty."
                title = f"Cells of {column.name} that do not fit"
                found.append(Finding(title, filled - fitting, query, detail))
                connection.execute(f"ALTER TABLE data ALTER {column.sql} TYPE {kind} USING {converted}")
                break
    return found


def _filled(columns: Sequence[_Column]) -> str:
    return "SELECT " + " + ".join(f"count({column.sql})" for column in columns) + " AS filled_cells FROM data"


def _quality(frame: Frame, rows: int, columns: Sequence[_Column], mended: Sequence[Finding]) -> Iterator[Finding]:
    yield Finding("Rows", rows, ROWS)
    yield frame.tabled("Columns", len(columns), SUMMARIZE)
    duplicates = int(frame.number(DUPLICATES))
    yield Finding("Rows that repeat another", duplicates, DUPLICATES, f"{share(duplicates, rows)} % of all rows.")
    empty = (
        "SELECT " + " + ".join(f"count(*) - count({column.sql})" for column in columns) + " AS empty_cells FROM data"
    )
    cells = int(frame.number(empty))
    yield Finding("Empty cells", cells, empty, f"{share(cells, rows * len(columns))} % of all cells.")
    yield from mended
    rejected = int(frame.number(REJECTED))
    if rejected:
        yield Finding("Lines that could not be read", rejected, REJECTED, "They do not fit the columns of the others.")


def _distributions(frame: Frame, shape: _Shape) -> Iterator[Finding]:
    for column in [number for number in shape.numbers if not IDENTIFIER.search(number.name)][:SHOWN_COLUMNS]:
        query = (
            f"SELECT min({column.sql}) AS smallest, quantile_cont({column.sql}, 0.25) AS lower_quarter,\n"
            f"       median({column.sql}) AS median, quantile_cont({column.sql}, 0.75) AS upper_quarter,\n"
            f"       max({column.sql}) AS largest, avg({column.sql}) AS mean, stddev({column.sql}) AS deviation\n"
            f"FROM data"
        )
        table = frame.table(query)
        yield Finding(f"Median of {column.name}", table.rows[0][2], query, "", table)
    for column in shape.names[:SHOWN_COLUMNS]:
        query = (
            f"SELECT {column.sql} AS value, count(*) AS rows,\n"
            f"       round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent\n"
            f"FROM data GROUP BY value ORDER BY rows DESC, value LIMIT 10"
        )
        table = frame.table(query)
        yield Finding(f"Most frequent {column.name}", table.rows[0][0], query, f"In {table.rows[0][1]:,} rows.", table)


def _trend(frame: Frame, shape: _Shape, span: _Span | None) -> Iterator[Finding]:
    date = shape.date
    if date is None or span is None:
        return
    amount, name = _amount(shape)
    where = f"WHERE {span.now}" if span.is_named else f"WHERE {date.sql} IS NOT NULL"
    first, last, days = frame.rows(
        f"SELECT min({date.sql})::DATE, max({date.sql})::DATE, max({date.sql})::DATE - min({date.sql})::DATE "
        f"FROM data {where}"
    )[0]
    grain, pattern = _grain(int(float(days or 0)))
    rows = ", count(*) AS rows" if shape.measure else ""
    query = (
        f"SELECT strftime(date_trunc('{grain}', {date.sql}), '{pattern}') AS {grain},\n"
        f"       {amount} AS {quoted(name)}{rows}\n"
        f"FROM data {where} GROUP BY {grain} ORDER BY {grain}"
    )
    table = frame.table(query)
    best = max(table.rows, key=lambda row: float(row[1] or 0))
    yield Finding(f"Best {grain} by {name}", best[0], query, f"{name} {_said(best[1])} ({first} to {last}).", table)
    both = f"SELECT {_filtered(amount, span.now)} AS now, {_filtered(amount, span.before)} AS before FROM data"
    now, before = (float(value or 0) for value in frame.rows(both)[0])
    moved = round(100 * (now - before) / before, 1) if before else None
    detail = f"{name} {span.label}: {_said(now)}; {change(now, before)} {span.before_label}."
    yield Finding(f"Change of {name} in percent", moved, both, detail, frame.table(both))


def _movers(frame: Frame, shape: _Shape, span: _Span | None) -> Iterator[Finding]:
    if span is None:
        return
    amount, name = _amount(shape)
    for column in shape.names[:SHOWN_COLUMNS]:
        query = (
            f"SELECT {column.sql} AS value, coalesce({_filtered(amount, span.now)}, 0) AS now,\n"
            f"       coalesce({_filtered(amount, span.before)}, 0) AS before, now - before AS change\n"
            f"FROM data GROUP BY value HAVING now <> before ORDER BY abs(change) DESC, value LIMIT 10"
        )
        table = frame.table(query)
        if table.rows:
            top = table.rows[0]
            detail = f"{name} {_said(top[1])} {span.label} against {_said(top[2])} {span.before_label}."
            yield Finding(f"Top mover by {column.name}", top[0], query, detail, table)


def _amount(shape: _Shape) -> tuple[str, str]:
    measure = shape.measure
    return ("count(*)", "rows") if measure is None else (f"sum({measure.sql})", measure.name)


def _filtered(amount: str, condition: str) -> str:
    return f"{amount} FILTER ({condition})"


def _grain(days: int) -> tuple[str, str]:
    if days <= 62:  # noqa: PLR2004 - two months of days fit on a page
        return "day", "%Y-%m-%d"
    return ("month", "%Y-%m") if days <= 6 * 366 else ("year", "%Y")


def _said(value: Any) -> str:  # noqa: ANN401 - a value of a table
    return shown(value)


def _summary(order: Order, rows: int, columns: Sequence[_Column], sections: Sequence[Section]) -> str:
    findings = [finding for section in sections for finding in section.findings]
    told = [finding.detail for finding in findings if finding.title.startswith("Change of")]
    told += [f"{f.title}: {_said(f.value)}, {f.detail}" for f in findings if f.title.startswith("Top mover")]
    return " ".join([f"{order.name}: {rows:,} rows, {len(columns)} columns.", *told[:2]])


def _extra(order: Order, rows: int, span: _Span | None) -> dict[str, Any]:
    stated = order.period.phrase is not None
    label = span.label if span else "the whole file"
    return {
        "period": {
            "label": order.period.label if stated else label,
            "since": order.period.since.isoformat() if stated else None,
            "until": order.period.until.isoformat() if stated else None,
            "stated_as": order.period.phrase,
        },
        "sources": [{"name": order.name, "rows": rows}],
    }


def unreadable(order: Order, reason: str) -> Report:
    """The report on a file that is no table: what was tried and what is needed."""
    summary = f"{order.name} could not be read as a table, so there is nothing to analyse."
    text = "\n".join(
        (
            f'- Asked for: "{escape(order.description)[:300]}"',
            f"- File: `{order.name}`, read as CSV: {escape(reason)}",
            f"- Period: {order.period.describe()}",
        )
    )
    needed = (
        "A CSV with one header row and one line per record, values separated by commas, semicolons or tabs, text in "
        f"UTF-8, at most {MAX_COLUMNS} columns. A column of dates (2024-10-31) gives the trend, a column of numbers "
        "the amounts, a column of names the movers."
    )
    finding = Finding("Rows that could be read", 0, "SELECT count(*) FROM read_csv('data.csv', header = true)")
    sections = (Section("What was looked at", (finding,), text), Section("What is needed", text=needed))
    return Report(f"{order.name} is no table", summary, sections, _extra(order, 0, None))
