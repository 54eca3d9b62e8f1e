"""The child that analyses one CSV: an order line and the file come in, the report goes out as JSON."""

import os
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson

from task_worker.domain.period import Period
from task_worker.jobs.frames import MIB
from task_worker.jobs.table_report import Order, table_report, unreadable
from task_worker.jobs.tables import REPORT

NICENESS = 5
ROOM = 1024
"""MiB of address space beside duckdb's own limit: the interpreter, its libraries and the heap around the data."""


@dataclass(frozen=True, slots=True)
class _Limits:
    memory: int
    seconds: int

    def apply(self) -> None:
        """Bound this process: it ends by itself even when its parent was killed."""
        space = (self.memory + ROOM) * MIB
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_CPU, (self.seconds, self.seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(self.seconds)
        os.nice(NICENESS)


def _period(given: dict[str, Any]) -> Period:
    since, until = datetime.fromisoformat(given["since"]), datetime.fromisoformat(given["until"])
    return Period(since, until, given["label"], given["phrase"])


def as_utf8(raw: bytes) -> bytes:
    """The file as UTF-8: by its byte order mark, as it is when it is UTF-8, else as Windows writes it."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace").encode()
    try:
        return raw.decode("utf-8-sig").encode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace").encode()


def main() -> None:
    """Read, analyse, print."""
    given = orjson.loads(sys.stdin.buffer.readline())
    order = Order(given["description"], given["name"], _period(given["period"]), _period(given["before"]))
    _Limits(given["memory"], given["seconds"]).apply()
    with tempfile.TemporaryDirectory(prefix="multidb-table-") as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes(as_utf8(sys.stdin.buffer.read()))
        try:
            report = table_report(order, path, given["memory"])
        except duckdb.OutOfMemoryException:
            sys.exit(3)
        except duckdb.Error as error:
            report = unreadable(order, type(error).__name__)
    sys.stdout.buffer.write(REPORT.dump_json(report))


if __name__ == "__main__":
    main()
