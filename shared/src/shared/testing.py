"""For tests of the services: identities, waiting for a condition, and an application under its own lifespan."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import httpx2

from shared.idempotency import ABANDONED, KEPT, KeyedRequest, Record
from shared.identity import IdentitySigner
from shared.ids import new_id
from shared.principal import Principal
from shared.service import Service

Seen = TypeVar("Seen")

NOT_YET = (AssertionError,)
"""What a condition may raise to say that it does not hold yet."""
SLOWEST_LOOK = 0.2

KEY = b"a key for tests only, never used outside them"


def somebody(role: str = "owner", plan: str = "free", organization_id: str | None = None) -> Principal:
    """A person of a new organization, or of the one given."""
    return Principal(str(new_id()), organization_id or str(new_id()), role, plan, str(new_id()))


def identity_headers(service: str, principal: Principal | None, issuer: str = "gateway") -> dict[str, str]:
    """The headers with which `issuer` calls `service` for `principal`."""
    return {"X-Internal-Identity": IdentitySigner(KEY, issuer).sign(service, principal).decode()}


@asynccontextmanager
async def running(app: Service, service: str, principal: Principal | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """The application between startup and shutdown, as a client that speaks for `principal`."""
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://service",
            headers=identity_headers(service, principal),
        ) as client,
    ):
        yield client


class InMemoryReplies:
    """Replies to keyed requests, shared by the twins of processes that share it; `dead` names those that ended."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.dead: set[str] = set()
        self._clock = clock
        self._records: dict[tuple[str, str, str, str], tuple[Record, float]] = {}

    async def claim(self, request: KeyedRequest, mine: Record) -> Record | None:
        """Keep `mine` unless there is a record that is neither too old nor abandoned."""
        await asyncio.sleep(0)
        known, at = self._records.get(request.name, (mine, 0.0))
        age = timedelta(seconds=self._clock() - at)
        if known is not mine and age <= (ABANDONED if known.reply is None else KEPT):
            return known
        self._records[request.name] = (mine, self._clock())
        return None

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the record with its reply."""
        self._records[request.name] = (record, self._clock())

    async def release(self, request: KeyedRequest, record: Record) -> None:
        """Forget this record."""
        if self._records.get(request.name, (None, 0))[0] == record:
            del self._records[request.name]

    async def is_alive(self, holder: str) -> bool:
        """Alive unless the test said otherwise."""
        return holder not in self.dead


class _Patience:
    """How long a condition is waited for, and what it said last."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._end = time.monotonic() + within
        self._pause = 0.01
        self.last: object = None

    def pause(self) -> float:
        """The seconds until the next look; fails when there is none."""
        if time.monotonic() > self._end:
            raise AssertionError(f"did not come true within {self._within:g} s; last seen: {self.last!r}")
        self._pause = min(self._pause * 1.5, SLOWEST_LOOK)
        return self._pause


async def eventually(
    condition: Callable[[], Any],
    within: float = 10,
    *,
    despite: tuple[type[Exception], ...] = NOT_YET,
) -> Any:  # noqa: ANN401 - what the condition found, awaited where it has to be
    """What `condition`, sync or async, returns as soon as that is true; errors of `despite` mean "not yet".

    Fails after `within` seconds with what was seen last, so a condition that asserts says more than one that compares.
    """
    patience = _Patience(within)
    while True:
        try:
            looked = condition()
            found = await looked if inspect.isawaitable(looked) else looked
            if found:
                return found
            patience.last = found
        except despite as error:
            patience.last = error
        await asyncio.sleep(patience.pause())


def eventually_blocking(
    condition: Callable[[], Seen], within: float = 10, *, despite: tuple[type[Exception], ...] = NOT_YET
) -> Seen:
    """`eventually` for tests without an event loop."""
    patience = _Patience(within)
    while True:
        try:
            if found := condition():
                return found
            patience.last = found
        except despite as error:
            patience.last = error
        time.sleep(patience.pause())
