"""A whole stack of its own for tests and measurements: driven through the `faq` command."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_stack.engines.jars import jar_folder
from local_stack.ports import free_port
from local_stack.services import SERVICES
from local_stack.wishes import is_setting

START = 240
STOP = 60


@dataclass(frozen=True, slots=True)
class Process:
    """One line of `faq status --json`."""

    name: str
    replica: int
    pid: int | None
    url: str | None
    state: str
    restarts: int

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the serving process."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def cpu(self) -> float:
        """Seconds of CPU (user and system) that the process has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


class Stack:
    """A running stack in a folder and on a port of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        inherited = {name: value for name, value in os.environ.items() if not is_setting(name)}
        self.environment = {
            **inherited,
            "MULTIDB_HOME": str(home),
            "GATEWAY_PORT": str(port),
            "MULTIDB_URL": self.url,
            "HOME": str(home),
            "MULTIDB_CACHE": str(jar_folder().parent),  # the jars of this machine, whatever HOME says
            "XDG_CONFIG_HOME": str(home / "config"),
        }

    def faq(self, *words: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `faq` command against this stack."""
        command = [str(Path(sys.executable).with_name("faq")), *words]
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"faq {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done

    def up(self, *options: str) -> None:
        """Start it; returns after its first answer."""
        self.faq("up", *options, timeout=START)

    def down(self) -> None:
        """Stop all of it."""
        self.faq("down", timeout=STOP)

    def processes(self, name: str | None = None) -> list[Process]:
        """What runs, or the replicas of one name."""
        status = json.loads(self.faq("status", "--json").stdout)
        fields = ("name", "replica", "pid", "url", "state", "restarts")
        found = [Process(*(entry.get(field) for field in fields)) for entry in status["processes"]]
        return [process for process in found if name in (None, process.name)]

    def processes_left(self) -> list[int]:
        """Processes that still carry this stack's folder in their command line or environment."""
        mark = str(self.home)
        return [
            process.pid for process in psutil.process_iter() if process.pid != os.getpid() and _bears(process, mark)
        ]

    def credentials(self) -> dict[str, Any]:
        """The demo owner's e-mail address and password."""
        return dict(json.loads((self.home / "credentials.json").read_text()))


def replicas(count: int) -> list[str]:
    """The options of `faq up` for so many processes of every service."""
    return [word for service in SERVICES for word in ("--replicas", f"{service.name}={count}")]


def _bears(process: psutil.Process, mark: str) -> bool:
    try:
        return mark in " ".join(process.cmdline()) or process.environ().get("MULTIDB_HOME") == mark
    except psutil.Error:
        return False


@contextmanager
def running_stack(home: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack between `up` and `down`; `options` as of `faq up`, `environment` on top of the process's own."""
    stack = Stack(home, free_port())
    stack.environment.update(environment or {})
    stack.up(*options)
    try:
        yield stack
    finally:
        stack.down()
