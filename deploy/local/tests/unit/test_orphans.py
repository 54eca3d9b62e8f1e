"""What a killed supervisor left: told by process id and time of birth."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from local_stack.orphans import birth, end_orphans, find
from local_stack.process import Child, Launch, spawn
from local_stack.state import RecordedProcess

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
WITH_CHILD = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); {SLEEPS}"
)
Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[Child] = []

    def made(code: str = SLEEPS) -> Child:
        log = tmp_path / f"{len(children)}.log"
        children.append(spawn(Launch(name="orphan", argv=(sys.executable, "-c", code), log=log)))
        while "up" not in log.read_text():
            pass
        return children[-1]

    yield made
    for child in children:
        child.kill()


def recorded(child: Child, key: str = "chat-service") -> RecordedProcess:
    return RecordedProcess(key, child.pid, birth(child.pid))


def test_a_process_is_found_by_its_id_and_its_birth(start: Start) -> None:
    child = start()

    found = find(recorded(child))

    assert found is not None
    assert found.pid == child.pid
    assert find(RecordedProcess("chat-service", child.pid, birth(child.pid) - 5)) is None


def test_one_that_has_ended_is_not_found_though_nobody_has_asked_for_it(start: Start) -> None:
    child = start()
    entry = recorded(child)

    os.kill(child.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(child.pid)], timeout=5)

    assert find(entry) is None


def test_the_birth_of_nobody_is_zero() -> None:
    assert birth(2**22 + 1) == 0.0


def test_one_that_ignores_the_signal_is_killed_when_its_grace_is_over(start: Start) -> None:
    child = start(STUBBORN)

    entry = recorded(child)

    assert end_orphans([entry], timedelta(seconds=0.2)) == ["chat-service"]

    assert find(entry) is None


def test_its_children_end_with_it(start: Start) -> None:
    parent = start(WITH_CHILD)
    (grandchild,) = psutil.Process(parent.pid).children()

    end_orphans([recorded(parent)], timedelta(seconds=0.2))

    assert not grandchild.is_running()


def test_postgresql_is_asked_to_stop_in_its_own_way(start: Start) -> None:
    heard = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(print('interrupted'))); "
    child = start(heard + SLEEPS)

    end_orphans([recorded(child, "postgresql")], timedelta(seconds=5))

    assert "interrupted" in child.launch.log.read_text()


def test_with_nothing_recorded_nothing_is_ended() -> None:
    assert end_orphans([]) == []
