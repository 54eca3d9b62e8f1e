"""Requests with an Idempotency-Key: done once, and answered the same when they are repeated."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from shared.errors import IdempotencyConflict, IdempotencyMismatch

PATIENCE = timedelta(seconds=1.5)
"""How long a repeat waits for the first to be answered before it is told of the conflict."""
LOOK_EVERY = timedelta(milliseconds=50)
REMEMBERED = 2_000
"""Replies kept in process, for the time that no store can be reached."""
KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request by its key, bound to who sends it and where; `fingerprint` is of its body."""

    organization_id: str
    user_id: str
    route: str
    key: str
    fingerprint: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What makes it the same request."""
        return (self.organization_id, self.user_id, self.route, self.key)


def fingerprint(canonical_body: bytes) -> str:
    """The fingerprint of a body."""
    return hashlib.sha256(canonical_body).hexdigest()


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a keyed request: who works on it under which message id, and the reply once there is one."""

    fingerprint: str
    message_id: UUID
    holder: str
    body: bytes | None = None


class KeyedReplies(Protocol):
    """Where records are kept for 24 hours, the same for every replica. Losing it raises nothing."""

    async def claim(self, request: KeyedRequest, record: Record) -> Record | None:
        """Keep the record unless there is one; the one there is, or None when this one was kept."""
        ...

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the record with its reply."""
        ...

    async def release(self, request: KeyedRequest) -> None:
        """Forget a request that failed, so that it may be tried again."""
        ...

    async def is_alive(self, holder: str) -> bool:
        """Whether the process that works on a record still runs."""
        ...


@dataclass(slots=True)
class _Remembered:
    record: Record
    until: float


class Idempotency:
    """Does keyed work once. A process that died in the middle is taken over under the same message id."""

    def __init__(self, replies: KeyedReplies, holder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._replies = replies
        self._holder = holder
        self._clock = clock
        self._running: dict[tuple[str, str, str, str], Record] = {}
        self._remembered: OrderedDict[tuple[str, str, str, str], _Remembered] = OrderedDict()

    async def once(
        self, request: KeyedRequest, message_id: UUID, work: Callable[[UUID], Awaitable[bytes]]
    ) -> tuple[bytes, bool]:
        """The reply to the request, and whether it is a replay.

        Raises IdempotencyMismatch (422) for another body under the same key, IdempotencyConflict (409) while the
        first is still being worked on.
        """
        mine = Record(request.fingerprint, message_id, self._holder)
        known = await self._claim(request, mine)
        if known.body is not None:
            return known.body, True
        self._running[request.name] = known
        try:
            body = await work(known.message_id)
        except BaseException:
            await self._replies.release(request)
            raise
        else:
            done = Record(request.fingerprint, known.message_id, self._holder, body)
            self._remember(request, done)
            await self._replies.finish(request, done)
            return body, False
        finally:
            self._running.pop(request.name, None)

    async def _claim(self, request: KeyedRequest, mine: Record) -> Record:
        """Our own record, a dead process's to take over, or one with a reply."""
        give_up = self._clock() + PATIENCE.total_seconds()
        while True:
            known = self._known_here(request)
            if known is None:
                self._running[request.name] = mine
                try:
                    known = await self._replies.claim(request, mine)
                finally:
                    self._running.pop(request.name, None)
                if known is None:
                    return mine
            if known.fingerprint != request.fingerprint:
                raise IdempotencyMismatch
            if known.body is not None or not await self._is_worked_on(request, known):
                return known
            if self._clock() >= give_up:
                raise IdempotencyConflict(retry_after=1)
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    def _known_here(self, request: KeyedRequest) -> Record | None:
        running = self._running.get(request.name)
        if running is not None:
            return running
        remembered = self._remembered.get(request.name)
        return remembered.record if remembered is not None and remembered.until > self._clock() else None

    async def _is_worked_on(self, request: KeyedRequest, known: Record) -> bool:
        if known.holder == self._holder:
            return request.name in self._running
        return await self._replies.is_alive(known.holder)

    def _remember(self, request: KeyedRequest, record: Record) -> None:
        self._remembered[request.name] = _Remembered(record, self._clock() + KEPT.total_seconds())
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
