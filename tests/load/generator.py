"""A cheap load generator: keep-alive connections on one uvloop in a process of its own, closed loop or paced.

It costs about a tenth of what it measures, so that on few cores the figures are those of the servers.
"""

import asyncio
import http.client
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop

TIMEOUT = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request to repeat; `body` is JSON or nothing."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self, host: str) -> bytes:
        """The request as it goes over the wire."""
        headers = {"Host": host, **self.headers}
        if self.body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + (self.body or b"")


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
        """Milliseconds that `share` (0-1) of the requests stayed below; not a number when there were none."""
        if not self.seconds:
            return float("nan")
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def ask(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One JSON request on its own connection; raises for anything but 2xx."""
    where = urlsplit(url)
    link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT)
    sent = {"Content-Type": "application/json", **(headers or {})}
    sent |= {"Authorization": f"Bearer {token}"} if token else {}
    try:
        link.request(method, path, None if body is None else json.dumps(body), sent)
        reply = link.getresponse()
        text = reply.read()
    finally:
        link.close()
    if not 200 <= reply.status < 300:
        raise RuntimeError(f"{method} {path}: {reply.status} {text[:300]!r}")
    return dict(json.loads(text))


def saturate(url: str, calls: Sequence[Call], seconds: float, connections: int = 16) -> Outcome:
    """As fast as `connections` allow, one request at a time on each."""
    return _in_a_process(url, calls, seconds, connections, None)


def pace(url: str, calls: Sequence[Call], seconds: float, rate: float, connections: int = 8) -> Outcome:
    """`rate` requests a second whatever the answers take (an open model): latency counts from the planned start."""
    return _in_a_process(url, calls, seconds, connections, rate)


def _in_a_process(url: str, calls: Sequence[Call], seconds: float, connections: int, rate: float | None) -> Outcome:
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_run, url, list(calls), seconds, connections, rate).result()


def _run(url: str, calls: list[Call], seconds: float, connections: int, rate: float | None) -> Outcome:
    where = urlsplit(url)
    encoded = [call.encoded(where.netloc) for call in calls]
    return uvloop.run(_generate(where.hostname or "", where.port or 80, encoded, seconds, connections, rate))


async def _generate(
    host: str, port: int, calls: list[bytes], seconds: float, connections: int, rate: float | None
) -> Outcome:
    turn = itertools.count()
    began = time.perf_counter()
    took: list[float] = []
    failed = 0

    async def work() -> None:
        nonlocal failed
        connection = _Connection(host, port)
        while True:
            number = next(turn)
            start = began + number / rate if rate else time.perf_counter()
            if start - began > seconds:
                connection.close()
                return
            if start > time.perf_counter():
                await asyncio.sleep(start - time.perf_counter())
            status = await connection.send(calls[number % len(calls)])
            if 200 <= status < 300:
                took.append(time.perf_counter() - start)
            else:
                failed += 1

    await asyncio.gather(*(work() for _ in range(connections)))
    return Outcome(took, failed)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; a broken one is made anew for the next request."""

    def __init__(self, host: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status: asyncio.Future[int] | None = None

    async def send(self, request: bytes) -> int:
        """The status of the answer; 0 when there was none within ten seconds."""
        try:
            if self._transport is None:
                self._parser = httptools.HttpResponseParser(self)
                self._transport, _ = await self._loop.create_connection(lambda: self, self._host, self._port)
        except OSError:
            return 0
        self._status = self._loop.create_future()
        self._transport.write(request)
        too_late = self._loop.call_later(TIMEOUT, self._transport.abort)
        try:
            return await self._status
        finally:
            too_late.cancel()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._status is not None and not self._status.done():
            self._status.set_result(self._parser.get_status_code())

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._status is not None and not self._status.done():
            self._status.set_result(0)
