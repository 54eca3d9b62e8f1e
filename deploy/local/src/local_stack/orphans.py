"""What a killed supervisor left running: found by the state file, ended before anything new starts."""

import contextlib
import signal
from datetime import timedelta

import psutil

from local_stack.state import RecordedProcess

SAME_BIRTH = 1.0  # seconds; a process id is not given out again within one
GRACE = timedelta(seconds=10)
FAST_STOP = {"postgresql": signal.SIGINT}


def birth(pid: int) -> float:
    """When the process started, in seconds since the epoch; 0 when it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def find(recorded: RecordedProcess) -> psutil.Process | None:
    """The recorded process if it is running still."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(recorded.pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        if alive and abs(process.create_time() - recorded.born) < SAME_BIRTH:
            return process
    return None


def end_orphans(recorded: list[RecordedProcess], grace: timedelta = GRACE) -> list[str]:
    """Stop what still runs, frozen or not, and wait for it; the keys of what was found."""
    found = [(entry, process) for entry in recorded if (process := find(entry))]
    families = [process for _, parent in found for process in (parent, *_children(parent))]
    for entry, process in found:
        for number in (FAST_STOP.get(entry.key, signal.SIGTERM), signal.SIGCONT):
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
    _, left = psutil.wait_procs(families, timeout=grace.total_seconds())
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    return [entry.key for entry, _ in found]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []
