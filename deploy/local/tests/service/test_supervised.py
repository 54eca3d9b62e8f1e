"""A process under supervision, with small stand-ins for services."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil

from local_stack.engines.engine import EngineUnavailable
from local_stack.listeners import Listeners
from local_stack.orphans import birth, end_orphans
from local_stack.ports import free_port
from local_stack.process import Launch, spawn
from local_stack.specs import ProcessSpec, one_shot_spec, service_spec
from local_stack.state import RecordedProcess
from local_stack.supervised import Supervised
from shared.testing import eventually

SOON = timedelta(seconds=10)
SERVER = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)\n"
)


def launch(folder: Path, name: str, code: str, *words: str) -> Launch:
    return Launch(
        name=name,
        argv=(sys.executable, "-c", code, *words),
        log=folder / f"{name}.log",
        environment=dict(os.environ),
        grace=timedelta(seconds=3),
    )


def a_service(folder: Path) -> ProcessSpec:
    port = free_port()
    return service_spec(launch(folder, "stand-in", SERVER, str(port)), f"http://127.0.0.1:{port}", frozenset())


@asynccontextmanager
async def supervised(
    spec: ProcessSpec, unblocked: Callable[[ProcessSpec], bool] = lambda _: True
) -> AsyncIterator[Supervised]:
    told: list[str] = []
    one = Supervised(spec, report=lambda _, text: told.append(text), unblocked=unblocked, listeners=Listeners())
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, one.notice_end)
    try:
        yield one
    finally:
        await one.stop()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)


async def test_a_killed_service_answers_again_within_five_seconds(tmp_path: Path) -> None:
    async with supervised(a_service(tmp_path)) as service:
        service.start()
        assert await service.reach(SOON)
        assert service.child is not None
        first = service.child.pid

        os.kill(first, signal.SIGKILL)
        began = time.monotonic()
        await eventually(lambda: service.child is not None and service.child.pid != first and service.state == "ready")

        assert time.monotonic() - began < 5
        assert service.restarts == 1


async def test_a_frozen_process_is_stopped_in_time(tmp_path: Path) -> None:
    async with supervised(a_service(tmp_path)) as service:
        service.start()
        assert await service.reach(SOON)
        assert service.child is not None
        pid = service.child.pid
        os.kill(pid, signal.SIGSTOP)

        began = time.monotonic()
        await service.stop()

        assert time.monotonic() - began < 4
        assert not psutil.pid_exists(pid)
        assert service.state == "stopped"


async def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    spec = one_shot_spec(launch(tmp_path, "stubborn", STUBBORN), frozenset(), "")
    async with supervised(spec) as stubborn:
        stubborn.start()
        log = tmp_path / "stubborn.log"
        await eventually(lambda: log.exists() and "up" in log.read_text())

        began = time.monotonic()
        await stubborn.stop(timedelta(seconds=0.5))

        assert time.monotonic() - began < 2


async def test_stopped_on_purpose_it_stays_down_until_it_is_started(tmp_path: Path) -> None:
    async with supervised(a_service(tmp_path)) as service:
        service.start()
        assert await service.reach(SOON)

        await service.stop()
        await asyncio.sleep(0.5)
        assert service.state == "stopped"

        service.start()
        assert await service.reach(SOON)


async def test_a_one_shot_is_tried_until_it_succeeds_and_then_never_again(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\nf = pathlib.Path(sys.argv[1])\n"
        "n = int(f.read_text()) if f.exists() else 0\nf.write_text(str(n + 1))\nsys.exit(n < 2)\n"
    )
    count = tmp_path / "count"
    spec = one_shot_spec(launch(tmp_path, "migrate", code, str(count)), frozenset(), "")
    async with supervised(spec) as migrate:
        migrate.start()
        assert await migrate.reach(SOON)
        await asyncio.sleep(0.3)

    assert count.read_text() == "3"


async def test_a_unit_waits_for_what_it_comes_after(tmp_path: Path) -> None:
    may_start = False
    async with supervised(a_service(tmp_path), lambda _: may_start) as service:
        service.start()
        await asyncio.sleep(0.3)
        assert service.child is None

        may_start = True
        assert await service.reach(SOON)


async def test_an_engine_that_cannot_be_had_is_given_up_for_now_and_tried_again_on_request(tmp_path: Path) -> None:
    missing = True

    def prepare() -> None:
        if missing:
            raise EngineUnavailable("No Java was found", "Install it")

    spec = a_service(tmp_path)
    spec = ProcessSpec(spec.name, 1, "engine", spec.launch, spec.answers, spec.fingerprint, prepare, spec.url)
    async with supervised(spec) as engine:
        engine.start()
        assert not await engine.reach(SOON)
        assert engine.problem == "No Java was found. Install it"

        missing = False
        engine.start()
        assert await engine.reach(SOON)
        assert engine.problem is None


def test_a_child_runs_with_the_niceness_of_its_launch(tmp_path: Path) -> None:
    told = "import os; print(os.nice(0))"
    child = spawn(replace(launch(tmp_path, "nice", told), niceness=3))

    assert child.wait(timedelta(seconds=10))
    assert int((tmp_path / "nice.log").read_text()) == os.nice(0) + 3


def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom local_stack.process import Launch, spawn\n"
        "argv = (sys.executable, '-c', 'import time; time.sleep(60)')\n"
        "child = spawn(Launch(name='c', argv=argv, log=Path(sys.argv[1])))\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    assert child.wait(timeout=5) is not NotImplemented
    assert not child.is_running()


def test_orphans_are_ended_frozen_or_not_and_strangers_are_left_alone(tmp_path: Path) -> None:
    children = [spawn(launch(tmp_path, f"c{number}", "import time; time.sleep(60)")) for number in range(3)]
    stranger = children[2]
    os.kill(children[0].pid, signal.SIGSTOP)
    records = [RecordedProcess(f"c{number}", child.pid, birth(child.pid)) for number, child in enumerate(children[:2])]
    records.append(RecordedProcess("reused", stranger.pid, birth(stranger.pid) - 60))

    found = end_orphans(records, timedelta(seconds=3))

    assert found == ["c0", "c1"]
    assert [child.exit_code is None for child in children] == [False, False, True]
    stranger.kill()
