"""An open-model flood: requests start when they are due, whatever became of those before; and clients that hang up."""

import asyncio
import socket
import time
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop
from generator import Call

PATIENCE = 15.0
CONNECTIONS = 4000
"""More than are ever under way at once while what is refused is refused in time."""


@dataclass(slots=True)
class Seen:
    """Seconds of the good replies and of the refusals, from the moment each was due; counts of everything else."""

    good_seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    told: int = 0
    lost: int = 0
    other: Counter[int] = field(default_factory=Counter)

    @property
    def good_count(self) -> int:
        """Replies with 2xx."""
        return len(self.good_seconds)

    @property
    def refused_count(self) -> int:
        """Replies with 503 or 429."""
        return len(self.refused_seconds)

    def good(self, share: float) -> float:
        """Milliseconds that `share` (0-1) of the good replies stayed below."""
        return _percentile(self.good_seconds, share)

    def refusals(self, share: float) -> float:
        """The same of the refusals; 0 when there were none."""
        return _percentile(self.refused_seconds, share) if self.refused_seconds else 0.0


def _percentile(seconds: list[float], share: float) -> float:
    if not seconds:
        return float("nan")
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def offer(url: str, calls: list[Call], seconds: float, rate: float, connections: int = CONNECTIONS) -> Seen:
    """`rate` requests a second for so many seconds from a process of their own."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_offer, url, calls, seconds, rate, connections).result()


def _offer(url: str, calls: list[Call], seconds: float, rate: float, connections: int) -> Seen:
    where = urlsplit(url)
    encoded = [call.encoded(where.netloc) for call in calls]
    return uvloop.run(_Flood(where.hostname or "", where.port or 80, connections).run(encoded, seconds, rate))


class _Flood:
    """Starts what is due every two milliseconds; connections are made as they are needed and used again."""

    def __init__(self, host: str, port: int, connections: int) -> None:
        self.host, self.port = host, port
        self.seen = Seen()
        self.idle: list[_Client] = []
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.room = connections
        self.under_way = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self, calls: list[bytes], seconds: float, rate: float) -> Seen:
        began = time.perf_counter()
        number = 0
        while number < seconds * rate:
            due = int((time.perf_counter() - began) * rate) + 1
            while number < min(due, seconds * rate):
                self.start(calls[number % len(calls)], began + number / rate)
                number += 1
            await asyncio.sleep(0.002)
        ends = time.perf_counter() + PATIENCE
        while (self.under_way or self.waiting) and time.perf_counter() < ends:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.02)
        self.seen.lost += self.under_way + len(self.waiting)
        for client in self.idle:
            client.close()
        return self.seen

    def start(self, request: bytes, due: float) -> None:
        if self.idle:
            self.under_way += 1
            self.idle.pop().send(request, due)
        elif self.room:
            self.room -= 1
            self.under_way += 1
            task = asyncio.ensure_future(self.connect(request, due))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.waiting.append((request, due))

    async def connect(self, request: bytes, due: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: _Client(self), self.host, self.port)
        except OSError:
            self.room += 1
            self.under_way -= 1
            self.seen.lost += 1
            return
        client.send(request, due)

    def replied(self, client: "_Client", status: int, due: float, *, told: bool, keeps: bool) -> None:
        took = time.perf_counter() - due
        self.under_way -= 1
        if 200 <= status < 300:
            self.seen.good_seconds.append(took)
        elif status in (429, 503):
            self.seen.refused_seconds.append(took)
            self.seen.told += told
        else:
            self.seen.other[status] += 1
        if not keeps:
            self.room += 1
        elif self.waiting:
            self.under_way += 1
            client.send(*self.waiting.popleft())
        else:
            self.idle.append(client)

    def lost(self, client: "_Client", *, waiting: bool) -> None:
        if waiting:
            self.under_way -= 1
            self.seen.lost += 1
        if client in self.idle:
            self.idle.remove(client)
        self.room += 1


class _Client(asyncio.Protocol):
    """One keep-alive connection of the flood."""

    def __init__(self, flood: _Flood) -> None:
        self.flood = flood
        self.due: float | None = None
        self.told = False
        self.is_closed = False
        self.transport: asyncio.Transport
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, due: float) -> None:
        self.due, self.told = due, False
        self.transport.write(request)

    def close(self) -> None:
        self.is_closed = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.told = self.told or (name.lower() == b"retry-after" and value.isdigit())

    def on_message_complete(self) -> None:
        due, self.due = self.due, None
        if due is None:
            return
        keeps = self.parser.should_keep_alive()
        if not keeps:
            self.close()
        self.flood.replied(self, self.parser.get_status_code(), due, told=self.told, keeps=keeps)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.is_closed:
            self.flood.lost(self, waiting=self.due is not None)


def abort_many(url: str, calls: list[Call], count: int) -> None:
    """So many requests whose clients hang up (with a reset) 1-50 ms after they sent them."""
    with ProcessPoolExecutor(1) as pool:
        pool.submit(_abort_many, url, calls, count).result()


def _abort_many(url: str, calls: list[Call], count: int) -> None:
    where = urlsplit(url)
    encoded = [call.encoded(where.netloc) for call in calls]
    uvloop.run(_hang_up(where.hostname or "", where.port or 80, encoded, count))


async def _hang_up(host: str, port: int, calls: list[bytes], count: int) -> None:
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(200)

    async def one(number: int) -> None:
        async with places:
            with socket.socket() as client:
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                await loop.sock_connect(client, (host, port))
                await loop.sock_sendall(client, calls[number % len(calls)])
                await asyncio.sleep((1 + number % 50) / 1000)

    await asyncio.gather(*map(one, range(count)))
