"""A small real HTTP server that speaks as much of the public API as the commands need, and a way to run commands."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from cli.__main__ import main
from cli.session import save_login

Answer = tuple[int, dict[str, Any]]


@dataclass
class Twin:
    """What the server says to "METHOD /path", and what it was asked."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any, str]] = field(default_factory=list)
    url: str = ""

    def says(self, operation: str, status: int, body: dict[str, Any] | None = None) -> None:
        """The next answer to an operation; the last one stays."""
        self.answers.setdefault(operation, []).append((status, body or {}))

    def bodies(self, operation: str) -> list[Any]:
        """The bodies that came with an operation."""
        return [body for name, _, body, _ in self.asked if name == operation]


def handler_for(twin: Twin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            path = urlsplit(self.path).path
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            is_json = self.headers.get("content-type", "") == "application/json"
            operation = f"{self.command} {path}"
            body = json.loads(raw) if is_json and raw else raw.decode("latin-1")
            twin.asked.append((operation, self.path, body, self.headers.get("authorization", "")))
            known = twin.answers.get(operation) or [(404, {"code": "not_found", "detail": "There is nothing here."})]
            status, reply = known.pop(0) if len(known) > 1 else known[0]
            content = b"" if status == 204 else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            for name in ("retry-after", "location"):
                if name in reply:
                    self.send_header(name, str(reply[name]))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
            pass

    return Handler


@pytest.fixture
def twin() -> Iterator[Twin]:
    made = Twin()
    made.says("GET /health/live", 200, {"status": "ok"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(made))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("MULTIDB_URL", "GATEWAY_PORT", "FAQ_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def faq(twin: Twin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*words: str, url: str | None = None) -> Ran:
        monkeypatch.setattr(sys, "argv", ["faq", "--url", url or twin.url, *words])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture
def logged_in(twin: Twin) -> None:
    save_login(twin.url, "ada@example.com", "access-1", "refresh-1")
