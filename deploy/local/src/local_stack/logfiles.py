"""Logs of the processes: kept small by the supervisor, shown together by `faq logs`."""

import shutil
from pathlib import Path

LIMIT = 10 * 1024 * 1024  # bytes of one file
KEPT = 3


def rotate(log: Path, limit: int = LIMIT) -> bool:
    """Copy a log that has grown over the limit to `.1` and empty it; whether it had to.

    The processes hold the file open in append mode, so it is emptied in place; a line written within the
    microseconds between the copy and the cut may be lost.
    """
    try:
        if log.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    for number in range(KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    with log.open("r+b") as file:
        file.truncate(0)
    return True
