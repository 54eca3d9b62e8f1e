"""The process that reads one file: an order line and the file come in, batches of rows go out as JSON lines."""

import os
import resource
import signal
import sys
from typing import Any

import orjson

from knowledge_service.domain.import_files import Limits, Row, UnreadableFile, Upload, read_rows

NICENESS = 10
"""Whoever asks goes first."""
BATCH_ROWS = 100
BATCH_BYTES = 64 * 1024
"""A batch is parsed on the event loop of the parent: a row is small, or alone in its batch."""
LARGEST_OUTPUT = 256 * 1024 * 1024
OUT_OF_MEMORY = 3


def _bound(memory: int, seconds: int) -> None:
    """This process ends by itself even when its parent was killed."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU first, which says why
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_OUTPUT, LARGEST_OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us, also when a terminal asks everybody
    os.nice(NICENESS)


def _told(row: Row) -> bytes:
    error = None if row.error is None else (row.error.code, str(row.error))
    return orjson.dumps((row.number, row.fields, error))


def _write(rows: list[Row]) -> None:
    out = sys.stdout.buffer
    out.write(orjson.dumps({"total": len(rows)}) + b"\n")
    batch: list[bytes] = []
    size = 0
    for row in rows:
        told = _told(row)
        if batch and (len(batch) == BATCH_ROWS or size + len(told) > BATCH_BYTES):
            out.write(b"[" + b",".join(batch) + b"]\n")
            batch, size = [], 0
        batch.append(told)
        size += len(told)
    if batch:
        out.write(b"[" + b",".join(batch) + b"]\n")


def _read(order: dict[str, Any]) -> None:
    try:
        content = sys.stdin.buffer.read()
        rows = read_rows(Upload(order["format"], content), Limits(order["rows"], order["headings"]))
        _write(rows)
    except UnreadableFile as error:
        sys.stdout.buffer.write(orjson.dumps({"refused": (error.code, str(error))}) + b"\n")
    except (MemoryError, SystemError) as error:
        if isinstance(error, SystemError) and not isinstance(error.__cause__, MemoryError):
            raise
        os._exit(OUT_OF_MEMORY)  # without unwinding, which would want memory


def main() -> None:
    """Read, write, end."""
    order = orjson.loads(sys.stdin.buffer.readline())
    _bound(order["memory"], order["seconds"])
    _read(order)


if __name__ == "__main__":
    main()
