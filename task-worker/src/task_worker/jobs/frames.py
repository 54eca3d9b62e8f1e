"""Findings by SQL: a bounded in-memory duckdb, and the way from a query to a finding."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from task_worker.domain.report import Finding, Table, Value

MIB = 1024 * 1024
EXACT = 2**53
"""Whole numbers from here on are not exact in JSON, and from 2**63 on cannot be written."""
KEPT_ROWS = 200
"""Rows of a table that are kept in a result."""
SEAL = ("SET TimeZone = 'UTC'", "SET enable_external_access = false", "SET lock_configuration = true")


@contextmanager
def database(memory: int, reads: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database of `memory` MiB on one thread; it reaches no network and no file but `reads`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory}MiB",
        "threads": 1,
        "temp_directory": "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        if reads is not None:
            path = str(reads).replace("'", "''")
            connection.execute(f"SET allowed_paths = ['{path}']")
        for statement in SEAL:
            connection.execute(statement)
        yield connection
    finally:
        connection.close()


class Frame:
    """Runs queries and turns what they give into findings that carry the query."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Value, ...]]:
        """All rows of a query, as plain values."""
        return [
            tuple(plain(value) for value in row) for row in self._connection.execute(query, list(values)).fetchall()
        ]

    def number(self, query: str) -> float:
        """The single number a query gives; 0 when it gives none."""
        row = self._connection.execute(query).fetchone()
        return 0 if row is None or row[0] is None else float(row[0])

    def table(self, query: str) -> Table:
        """The columns and first rows of a query."""
        cursor = self._connection.execute(query)
        columns = tuple(str(column[0]) for column in cursor.description or ())
        rows = tuple(tuple(plain(value) for value in row) for row in cursor.fetchmany(KEPT_ROWS))
        return Table(columns, rows)

    def tabled(self, title: str, value: Value, query: str, detail: str = "") -> Finding:
        """A finding with the table of its query."""
        return Finding(title, value, query.strip(), detail, self.table(query))


def plain(value: Any) -> Value:  # noqa: ANN401 - any value of the driver
    """A value of duckdb as JSON knows it; numbers keep six decimals at most."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return value if abs(value) < EXACT else float(value)
    if isinstance(value, float | Decimal):
        number = float(value)
        return round(number, 6) if number == number and abs(number) != float("inf") else None  # noqa: PLR0124 - NaN
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
