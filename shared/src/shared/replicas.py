"""Where the replicas of a service are: a list of URLs, or every address a host name resolves to, looked up again."""

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import structlog

from shared.background import Background

log = structlog.get_logger()

RESOLVE_EVERY = timedelta(seconds=5)
REST = timedelta(seconds=1)
"""How long a replica that failed is passed over."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One process of a service."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Its base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parse_urls(urls: str) -> tuple[Address, ...]:
    """The addresses in a comma-separated list of http://host:port."""
    parts = [urlsplit(url.strip()) for url in urls.split(",") if url.strip()]
    if not parts or any(part.scheme != "http" or not part.hostname for part in parts):
        raise ValueError(f"expected a comma-separated list of http://host:port, got {urls!r}")
    return tuple(Address(str(part.hostname), part.port or 80) for part in parts)


class Replicas:
    """The replicas of one service in round robin; a lone host name is resolved to all its addresses.

    Belongs to one event loop. `next` never blocks: names are resolved in the background after `start`.
    """

    def __init__(self, service: str, urls: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.service = service
        self._configured = parse_urls(urls)
        self._addresses = self._configured
        self._turn = itertools.count()
        self._resting: dict[Address, float] = {}
        self._clock = clock
        self._background = Background()

    def __iter__(self) -> Iterator[Address]:
        """All known replicas, resting ones included."""
        return iter(self._addresses)

    def __len__(self) -> int:
        """How many replicas are known."""
        return len(self._addresses)

    def next(self, avoid: Address | None = None) -> Address:
        """The replica whose turn it is; one that rests or is `avoid` only when there is no other."""
        turn = next(self._turn)
        first = self._addresses[turn % len(self._addresses)]
        if not self._resting and first != avoid:
            return first  # the common case, and on the gateway's hot path
        now = self._clock()
        self._resting = {address: until for address, until in self._resting.items() if until > now}
        ordered = [self._addresses[(turn + i) % len(self._addresses)] for i in range(len(self._addresses))]
        rested = (a for a in ordered if self._resting.get(a, 0.0) <= now and a != avoid)
        return next(rested, None) or next((a for a in ordered if a != avoid), ordered[0])

    def failed(self, address: Address) -> None:
        """Pass this replica over for a second."""
        self._resting[address] = self._clock() + REST.total_seconds()

    async def start(self) -> None:
        """Resolve once and keep resolving, where there is a name to resolve."""
        if len(self._configured) == 1 and not _is_literal(self._configured[0].host):
            await self._resolve()
            self._background.keep(self._keep_resolving)

    async def close(self) -> None:
        """Stop resolving."""
        await self._background.close()

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_EVERY.total_seconds())
            await self._resolve()

    async def _resolve(self) -> None:
        only = self._configured[0]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(only.host, only.port, type=socket.SOCK_STREAM)
        except OSError as error:
            log.warning("replicas_unresolved", service=self.service, error=repr(error))
            return
        self._addresses = tuple(sorted({Address(str(entry[4][0]), only.port) for entry in found}))


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
