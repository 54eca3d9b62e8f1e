"""The stack as seen from outside the supervisor: start the daemon, ask it, make sure it is gone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psutil
from filelock import FileLock, Timeout

from local_stack import orphans
from local_stack.control import NotRunning, ask
from local_stack.desired import DesiredState
from local_stack.home import Home
from local_stack.state import load_state, save_state

DAEMON = timedelta(seconds=20)
SILENCE = 240.0  # seconds without an event while the stack starts

Event = dict[str, Any]


class SupervisorFailed(RuntimeError):
    """The supervisor did not start; the message says where to look."""


class Refused(RuntimeError):
    """The supervisor will not do what was asked; the message says why."""


def up(home: Home, desired: DesiredState) -> Iterator[Event]:
    """Start what is wanted and tell about it. Raises SupervisorFailed or Refused."""
    ensure_daemon(home)
    settled = False
    for event in _asked(home, "up", timeout=SILENCE, desired=desired.to_json()):
        settled = "settled" in event
        yield event
    if not settled:
        raise Refused("The stack was stopped before it was up")


def down(home: Home) -> bool:
    """Stop everything, also what a killed supervisor has left; whether anything ran."""
    daemon = daemon_pid(home)
    try:
        for _ in _asked(home, "down", timeout=30.0):
            pass
        ran = True
    except NotRunning:
        ran = _end_leftovers(home)
    if daemon is not None:
        _wait_for_end(daemon)
    return ran


def act(home: Home, command: str, name: str) -> Event:
    """`stop`, `start` or `restart` a name; the outcome. Raises NotRunning or Refused."""
    return list(_asked(home, command, timeout=120.0, name=name))[-1]


def status(home: Home) -> Event:
    """What every process does. Raises NotRunning."""
    return next(_asked(home, "status", timeout=5.0))


def is_running(home: Home) -> bool:
    """Whether a supervisor answers."""
    try:
        status(home)
    except NotRunning:
        return False
    return True


def daemon_pid(home: Home) -> int | None:
    """The supervisor's process, if it answers."""
    try:
        rows = status(home)["processes"]
    except (NotRunning, StopIteration, OSError):
        return None
    return next((int(row["pid"]) for row in rows if row["name"] == "supervisor"), None)


def ensure_daemon(home: Home) -> None:
    """Start the supervisor unless it runs; returns when it takes commands."""
    if is_running(home):
        return
    home.create()
    log_path = home.log("supervisor")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        daemon = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "local_stack", "supervise", str(home.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )
    end = time.monotonic() + DAEMON.total_seconds()
    while not is_running(home):
        if daemon.poll() is not None or time.monotonic() > end:
            raise SupervisorFailed(f"The supervisor did not start; see {log_path}")
        time.sleep(0.05)


def _asked(home: Home, command: str, *, timeout: float, **words: object) -> Iterator[Event]:
    try:
        for event in ask(home, command, timeout=timeout, **words):
            if "error" in event:
                raise Refused(event["error"])
            yield event
    except TimeoutError:
        raise Refused(f"The supervisor has said nothing for {timeout:.0f} s; see {home.log('supervisor')}") from None
    except (BrokenPipeError, ConnectionResetError):
        raise Refused(f"The supervisor has ended; see {home.log('supervisor')}") from None


def _end_leftovers(home: Home) -> bool:
    """Clean up after a killed supervisor; whether there was anything."""
    if not home.folder.exists():
        return False
    try:
        with FileLock(home.lock, timeout=0):
            state = load_state(home)
            found = orphans.end_orphans(state.processes)
            if state.processes or state.control:
                state.processes, state.control = [], {}
                save_state(home, state)
            home.socket.unlink(missing_ok=True)
            return bool(found)
    except Timeout:
        raise SupervisorFailed("The supervisor is starting or stopping; try again in a moment") from None


def _wait_for_end(pid: int) -> None:
    try:
        psutil.Process(pid).wait(timeout=10)
    except psutil.Error:
        return
