"""The child process that analyses one table: an order line and the file come in, the report or a refusal goes out."""

import gc
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
from task_worker.jobs.tables.figures import Order
from task_worker.jobs.tables.remarks import TableRefused
from task_worker.jobs.tables.report import table_report
from task_worker.jobs.tables.sandbox import REPORT, TOO_LARGE

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


def _reply(given: dict[str, Any], raw: bytes) -> bytes:
    order = Order(given["description"], given["name"], _period(given["period"]), _period(given["before"]))
    with tempfile.TemporaryDirectory(prefix="multidb-table-") as folder:
        try:
            report = table_report(order, raw, Path(folder), given["memory"])
        except TableRefused as refused:
            return orjson.dumps({"refused": refused.detail})
    return b'{"report":' + REPORT.dump_json(report) + b"}"


def main() -> None:
    """Read, analyse, print."""
    given = orjson.loads(sys.stdin.buffer.readline())
    _Limits(given["memory"], given["seconds"]).apply()
    gc.disable()  # millions of cells and no cycles: looking for some took a third of the time
    try:
        reply = _reply(given, sys.stdin.buffer.read())
    except (duckdb.OutOfMemoryException, MemoryError):
        sys.exit(TOO_LARGE)
    sys.stdout.buffer.write(reply)


if __name__ == "__main__":
    main()
