"""Child processes that never outlive their parent: how one is started, watched and stopped."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from local_stack.engines.unprivileged import Account

PR_SET_PDEATHSIG = 1
POLL = 0.02  # seconds between looks at a process that is stopping
BEHIND_THE_DOOR = 5
"""Niceness of what works behind the gateway. On one machine they share its CPU, and under overload a gateway that has
to queue for it can neither refuse in time nor tell its health."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that decides how a process runs; two equal launches are the same process."""

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    replica: int = 1
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: timedelta = timedelta(seconds=10)
    listens: tuple[str, int] | None = None  # an address whose socket is handed over, so that a restart refuses nobody
    listen_setting: str = ""
    niceness: int = BEHIND_THE_DOOR

    @property
    def key(self) -> str:
        """The name of one replica: `chat-service`, `chat-service-2`."""
        return self.name if self.replica == 1 else f"{self.name}-{self.replica}"


class Child:
    """A running process of a launch."""

    def __init__(self, launch: Launch, popen: subprocess.Popen[bytes]) -> None:
        self.launch = launch
        self.started = time.monotonic()
        self._popen = popen

    @property
    def pid(self) -> int:
        """The process id of the serving process itself."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs."""
        return self._popen.poll()

    def ask_to_stop(self) -> None:
        """Send the stop signal, and wake the process in case it is frozen: a stopped one would never see it."""
        for number in (self.launch.stop_signal, signal.SIGCONT):
            self._send(number)

    def kill(self) -> None:
        """End the process and what is left of its process group at once; SIGKILL reaches a frozen one too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._send(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=5)

    def wait(self, timeout: timedelta) -> bool:
        """Whether the process has ended within the time."""
        end = time.monotonic() + timeout.total_seconds()
        while self.exit_code is None:
            if time.monotonic() > end:
                return False
            time.sleep(POLL)
        return True

    def stop(self, grace: timedelta | None = None) -> None:
        """Stop for good, with SIGKILL when the grace is over."""
        self.ask_to_stop()
        if not self.wait(self.launch.grace if grace is None else grace):
            self.kill()

    def _send(self, number: signal.Signals) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(number)


def spawn(launch: Launch, listener: socket.socket | None = None) -> Child:
    """Start the process with its output appended to its log. Raises OSError when it cannot be started."""
    account = launch.account
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    with launch.log.open("ab") as log:
        popen = subprocess.Popen(  # noqa: S603 - the command lines are our own
            launch.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=launch.folder,
            env={**launch.environment, **({launch.listen_setting: str(listener.fileno())} if listener else {})},
            pass_fds=[listener.fileno()] if listener else [],
            start_new_session=True,
            preexec_fn=_begin(launch),  # noqa: PLW1509 - prepared system calls only, no lock is taken
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    return Child(launch, popen)


def _begin(launch: Launch) -> Callable[[], None] | None:
    """A hook for the child: its niceness, and its stop signal when the thread that started it ends (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()
    number, niceness = int(launch.stop_signal), launch.niceness

    def hook() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        os.nice(niceness)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the request was made

    return hook
