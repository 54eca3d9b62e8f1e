"""How long a notification takes: from the end of a task, by the task's own clock, to the line on an open stream."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from generator import Outcome, ask

PATIENCE = 30
"""Seconds to wait for the last notification."""


class Listener:
    """An open stream of one user's notifications that notes when each task's arrived."""

    def __init__(self, url: str, token: str) -> None:
        where = urlsplit(url)
        self._link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=2 * PATIENCE)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        self._link.request("GET", "/notifications/stream", headers=headers)
        self._socket = self._link.sock
        self._reply = self._link.getresponse()
        self.arrived: dict[str, float] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # closed by us
            while line := self._reply.readline():
                if line.startswith(b"data:"):
                    note = json.loads(line.removeprefix(b"data:"))
                    self.arrived.setdefault(note["data"]["task_id"], time.time())

    def close(self) -> None:
        """End the stream; its thread sees the end of the file."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def delivery(url: str, tokens: Sequence[str], seconds: float, rate: float) -> Outcome:
    """Tasks at `rate` a second for as long, one user after the other; a notification that never came has failed."""
    listeners = [Listener(url, token) for token in tokens]
    try:
        ids = list(_submit(url, tokens, seconds, rate))
        deadline = time.monotonic() + PATIENCE
        while sum(len(each.arrived) for each in listeners) < len(ids) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        for each in listeners:
            each.close()
    arrived = {task: when for each in listeners for task, when in each.arrived.items()}
    took = [arrived[task] - _ended(url, task, token) for task, token in ids if task in arrived]
    return Outcome(took, len(ids) - len(took))


def _submit(url: str, tokens: Sequence[str], seconds: float, rate: float) -> Iterator[tuple[str, str]]:
    began = time.monotonic()
    for number in range(round(seconds * rate)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        token = tokens[number % len(tokens)]
        yield ask(url, "POST", "/tasks/analyze", {"description": "volume by day"}, token)["task_id"], token


def _ended(url: str, task: str, token: str) -> float:
    return datetime.fromisoformat(ask(url, "GET", f"/tasks/{task}/status", token=token)["finished_at"]).timestamp()
