"""What `faq status` shows of every process."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

from local_stack.supervised import Supervised

MEBIBYTE = 1 << 20


def describe(
    units: Iterable[Supervised], gateway: str | None, external: Mapping[str, str], uptime: float
) -> dict[str, Any]:
    """The object that `faq status --json` prints."""
    units = list(units)
    return {
        "gateway": gateway,
        "processes": [
            *(_row(unit) for unit in units if unit.unit.kind != "one-shot"),
            *(_external_row(name, url) for name, url in external.items()),
            {
                "name": "supervisor",
                "replica": 1,
                "pid": os.getpid(),
                "url": None,
                "state": "ready",
                "rss_mb": resident(os.getpid()),
                "restarts": 0,
            },
        ],
        "pending": [unit.unit.key for unit in units if unit.unit.kind == "one-shot" and unit.state != "ready"],
        "problems": [unit.problem for unit in units if unit.problem],
        "uptime_seconds": round(uptime),
    }


def resident(pid: int, *, with_children: bool = False) -> float:
    """Resident memory in MiB; 0 when the process is gone."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        total = process.memory_info().rss
        if with_children:
            total += sum(_private(child) for child in process.children())
    return round(total / MEBIBYTE, 1)


def _row(supervised: Supervised) -> dict[str, Any]:
    unit = supervised.unit
    child = supervised.child
    pid = child.pid if child is not None and child.exit_code is None else None
    return {
        "name": unit.name,
        "replica": unit.replica,
        "pid": pid,
        "url": unit.url,
        "state": supervised.state,
        "rss_mb": resident(pid, with_children=unit.name == "postgresql") if pid else 0,
        "restarts": supervised.restarts,
    }


def _external_row(name: str, url: str) -> dict[str, Any]:
    return {"name": name, "replica": 1, "pid": None, "url": url, "state": "ready", "rss_mb": 0, "restarts": 0}


def _private(process: psutil.Process) -> int:
    """What a forked backend has for itself: its shared buffers are counted with the parent."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return max(0, memory.rss - memory.shared) if hasattr(memory, "shared") else int(memory.rss)
