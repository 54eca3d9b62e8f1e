"""The health check of the images tells alive from dead, with a server and without."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

HEALTHCHECK = Path(__file__).parents[2] / "deploy/healthcheck.py"


def check(*arguments: str, port: int = 9) -> int:
    command = [sys.executable, str(HEALTHCHECK), *arguments]
    return subprocess.run(command, env=os.environ | {"HEALTH_PORT": str(port)}, check=False, timeout=30).returncode


class Live(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/live" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Live) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    waiting = "input()"
    with subprocess.Popen([sys.executable, "-m", "timeit", "-n", "1", waiting], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def test_a_service_that_answers_is_alive(server: HTTPServer) -> None:
    assert check(port=server.server_address[1]) == 0


def test_a_service_that_does_not_answer_is_not_alive() -> None:
    assert check() == 1


def test_a_worker_is_alive_while_its_process_runs(process: "subprocess.Popen[bytes]") -> None:
    assert check("--process", "timeit") == 0

    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    assert check("--process", "timeit") == 1

    process.send_signal(signal.SIGCONT)
    assert check("--process", "timeit") == 0


def test_a_worker_that_is_not_there_is_not_alive() -> None:
    assert check("--process", "no_such_module") == 1


def test_a_misspelt_check_says_how_it_is_used() -> None:
    assert check("--proces", "timeit") == 2
