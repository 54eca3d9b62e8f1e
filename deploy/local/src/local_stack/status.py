"""What `faq status` shows of every process."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

from local_stack.supervised import Supervised

MEBIBYTE = 1 << 20


def describe(
    processes: Iterable[Supervised], gateway: str | None, external: Mapping[str, str], uptime: float
) -> dict[str, Any]:
    """The object that `faq status --json` prints."""
    processes = list(processes)
    return {
        "gateway": gateway,
        "processes": [
            *(_row(process) for process in processes if process.spec.kind != "one-shot"),
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
        "pending": [
            process.spec.key for process in processes if process.spec.kind == "one-shot" and process.state != "ready"
        ],
        "problems": [process.problem for process in processes if process.problem],
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
    spec = supervised.spec
    child = supervised.child
    pid = child.pid if child is not None and child.exit_code is None else None
    return {
        "name": spec.name,
        "replica": spec.replica,
        "pid": pid,
        "url": spec.url,
        "state": supervised.state,
        "rss_mb": resident(pid, with_children=spec.name == "postgresql") if pid else 0,
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
