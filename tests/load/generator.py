"""A cheap load generator: keep-alive connections of the standard library in threads, closed loop or paced."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PROCESSES = 1
TIMEOUT = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request to repeat; `body` is JSON or nothing."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: seconds of each request in order of completion, and how many did not give 2xx."""

    seconds: list[float]
    failed: int

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return len(self.seconds)

    def percentile(self, share: float) -> float:
        """Milliseconds that `share` (0-1) of the requests stayed below."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class Connection:
    """A keep-alive connection that answers with status and body."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT)

    def send(self, call: Call) -> tuple[int, bytes]:
        """One request; a broken connection is made anew next time."""
        try:
            headers = {"Content-Type": "application/json", **call.headers} if call.body else call.headers
            self._link.request(call.method, call.path, call.body, headers)
            reply = self._link.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException):
            self._link.close()
            return 0, b""


def ask(url: str, method: str, path: str, body: Any = None, token: str | None = None) -> dict[str, Any]:
    """One JSON request on its own connection; raises for anything but 2xx."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    raw = None if body is None else json.dumps(body).encode()
    status, reply = Connection(url).send(Call(method, path, raw, headers))
    if not 200 <= status < 300:
        raise RuntimeError(f"{method} {path}: {status} {reply[:300]!r}")
    return dict(json.loads(reply))


def saturate(url: str, calls: Sequence[Call], seconds: float, connections: int = 16) -> Outcome:
    """As fast as `connections` allow, from another process, so that this one's bookkeeping does not count."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        return pool.submit(_in_threads, url, list(calls), seconds, connections, None).result()


def pace(url: str, calls: Sequence[Call], seconds: float, rate: float, connections: int = 8) -> Outcome:
    """`rate` requests a second whatever the answers take (an open model): latency counts from the planned start."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        return pool.submit(_in_threads, url, list(calls), seconds, connections, rate).result()


def _in_threads(url: str, calls: list[Call], seconds: float, connections: int, rate: float | None) -> Outcome:
    turn = itertools.count()
    lock = threading.Lock()
    began = time.perf_counter()
    results: list[tuple[float, bool]] = []

    def next_start() -> tuple[int, float]:
        with lock:
            number = next(turn)
        return number, began + number / rate if rate else time.perf_counter()

    def work() -> None:
        connection = Connection(url)
        while True:
            number, start = next_start()
            if start - began > seconds:
                return
            time.sleep(max(0.0, start - time.perf_counter()))
            status, _ = connection.send(calls[number % len(calls)])
            results.append((time.perf_counter() - start, 200 <= status < 300))

    _all_at_once(work, connections)
    return Outcome([took for took, fine in results if fine], sum(not fine for _, fine in results))


def _all_at_once(work: Callable[[], None], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for running in [pool.submit(work) for _ in range(count)]:
            running.result()
