"""For tests and measurements: a whole stack of its own, driven through `faq`; and a small one of stand-ins."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil
from filelock import FileLock, Timeout

from local_stack import stack
from local_stack.desired import DesiredState, is_setting
from local_stack.engines.jars import jar_folder
from local_stack.home import Home
from local_stack.plan import Plan
from local_stack.ports import assign_ports, free_port
from local_stack.process import Launch
from local_stack.services import SERVICES
from local_stack.specs import ProcessSpec, service_spec
from local_stack.state import State
from local_stack.supervisor import supervise
from shared.testing import eventually_blocking

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
    made = Stack(home, free_port())
    made.environment.update(environment or {})
    made.up(*options)
    try:
        yield made
    finally:
        made.down()


STAND_IN = """
import http.server, os, signal, socket, sys, threading, time
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
descriptor = os.environ.get("GATEWAY_LISTEN_FD")
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready, bind_and_activate=not descriptor)
if descriptor:
    server.socket = socket.socket(fileno=int(descriptor))
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.05)
time.sleep(float(os.environ["DRAIN"]))
"""


class StandIns:
    """Plans of a gateway and chat-services that only say that they are ready, in place of the product's.

    `CHAT_DRAIN` in the settings is how many seconds a chat-service takes to stop. As with the real ones, the gateway
    knows the address of each chat-service, so it has to change with their number.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def __call__(self, desired: DesiredState, state: State, in_use: Mapping[str, int]) -> Plan:
        """A plan, with ports remembered in the state as the real ones do."""
        keys = ["chat-service", *(f"chat-service-{n}" for n in range(2, desired.replicas.get("chat-service", 1) + 1))]
        new = assign_ports([key for key in keys if key not in in_use], state.ports)
        ports = {**{key: in_use[key] for key in keys if key in in_use}, **new}
        state.ports.update(ports)
        state.gateway_port = desired.gateway_port
        drain = desired.settings.get("CHAT_DRAIN", "0")
        specs = [self._chat(number, ports[key], drain) for number, key in enumerate(keys, start=1)]
        return Plan((self._gateway(desired.gateway_port, ports.values()), *specs), {}, _address(desired.gateway_port))

    def _gateway(self, port: int, neighbours: Iterable[int]) -> ProcessSpec:
        launch = replace(
            self._launch("gateway", 1, port, DRAIN="0", NEIGHBOURS=",".join(map(str, neighbours))),
            listens=("127.0.0.1", port),
            listen_setting="GATEWAY_LISTEN_FD",
        )
        return service_spec(launch, _address(port), frozenset())

    def _chat(self, replica: int, port: int, drain: str) -> ProcessSpec:
        return service_spec(self._launch("chat-service", replica, port, DRAIN=drain), _address(port), frozenset())

    def _launch(self, name: str, replica: int, port: int, **environment: str) -> Launch:
        return Launch(
            name=name,
            replica=replica,
            argv=(sys.executable, "-c", STAND_IN, str(port)),
            environment=environment,
            log=self._home.log(name),
            grace=timedelta(seconds=5),
        )


class SmallStack:
    """A real supervisor over stand-ins, in a folder and on a port of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.port = free_port()
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start_supervisor()
        return self

    def __exit__(self, *_: object) -> None:
        stack.down(self.home)
        if self._daemon:
            self._daemon.wait(timeout=30)

    def start_supervisor(self) -> None:
        """Start it; returns when it takes commands."""
        code = "import sys; from local_stack.testing import supervise_stand_ins; supervise_stand_ins(sys.argv[1])"
        self.home.create()
        with (self.home.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-c", code, str(self.home.folder)], stdout=log, stderr=log, start_new_session=True
            )
        eventually_blocking(lambda: stack.is_running(self.home), 20)

    def kill_supervisor(self) -> None:
        """Kill -9."""
        if self._daemon:
            self._daemon.kill()
            self._daemon.wait()

    def up(self, chats: int = 1, **settings: str) -> list[dict[str, Any]]:
        """Bring it to so many chat-services; what the supervisor told."""
        desired = DesiredState(gateway_port=self.port, replicas={"chat-service": chats}, settings=settings)
        return list(stack.up(self.home, desired))

    def pids(self, name: str) -> list[int]:
        """The processes of a name that run."""
        return [row["pid"] for row in stack.status(self.home)["processes"] if row["name"] == name and row["pid"]]

    def states(self) -> dict[str, str]:
        """The state of each process but the supervisor's."""
        rows = [row for row in stack.status(self.home)["processes"] if row["name"] != "supervisor"]
        return {f"{row['name']}-{row['replica']}": row["state"] for row in rows}

    def is_locked(self) -> bool:
        """Whether a supervisor lives in this home."""
        try:
            with FileLock(self.home.lock, timeout=0):
                return False
        except Timeout:
            return True


def supervise_stand_ins(folder: str) -> None:
    """Run a supervisor of stand-ins in this process."""
    home = Home(Path(folder))
    supervise(home, StandIns(home))


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"
