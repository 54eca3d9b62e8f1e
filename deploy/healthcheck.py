#!/usr/bin/env python3
"""Health check of a container; exit 0 when what runs in it is alive.

`healthcheck.py` asks `/health/live` on HEALTH_PORT (8000). `--process MODULE` is for what serves nothing;
it looks for a running, not stopped, `python -m MODULE`. A database that is away makes neither of them fail.
"""

import http.client
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

TIMEOUT = 2.0
"""Seconds; below the 3 s that the image gives the whole check."""
PROC = Path("/proc")
STOPPED = frozenset({"T", "t", "Z", "X"})
"""States of /proc/PID/stat that mean: stopped, traced, zombie, dead."""


def answers(port: int) -> bool:
    """Whether the process on `port` of this container answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def runs(module: str) -> bool:
    """Whether a `python -m MODULE` is there and may run."""
    return any(state not in STOPPED for state in _states(module))


def _states(module: str) -> Iterator[str]:
    for process in PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue  # it ended while we looked
        if (b"-m", module.encode()) in itertools.pairwise(words):
            yield state


def main(arguments: list[str]) -> int:
    """The exit code."""
    match arguments:
        case []:
            is_alive = answers(int(os.environ.get("HEALTH_PORT", "8000")))
        case ["--process", module]:
            is_alive = runs(module)
        case _:
            sys.stderr.write("usage: healthcheck.py [--process MODULE]\n")
            return 2
    return 0 if is_alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
