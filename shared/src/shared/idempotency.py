"""Requests with an Idempotency-Key: done once, and answered the same when they are repeated within a day."""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from shared.errors import FieldError, IdempotencyConflict, IdempotencyMismatch, InvalidRequest
from shared.ids import new_id

Claimed = TypeVar("Claimed")

KEPT = timedelta(hours=24)
PATIENCE = timedelta(seconds=1.5)
"""How long a repeat waits for the first to be answered before it is told of the conflict."""
LOOK_EVERY = timedelta(milliseconds=50)
ABANDONED = timedelta(seconds=30)
"""Where nobody can tell whether a process lives, a request without a reply after this time has died with it."""

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
"""The header of a reply that was given before: `true`."""
KEY = re.compile(rb"[!-~]{1,255}")
KEY_PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"},
    "description": "The same key with the same request gives the first reply again for 24 hours.",
}
"""The header in an OpenAPI document."""
REPLAYED_HEADER: dict[str, Any] = {
    REPLAYED: {"schema": {"type": "string", "enum": ["true"]}, "description": "`true` for a repeated key."}
}


def key_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The one key among the headers of a request (as ASGI has them); raises InvalidRequest (422) for any other."""
    given = [value for name, value in headers if name == b"idempotency-key"]
    if not given:
        return None
    if len(given) > 1 or not KEY.fullmatch(given[0]):
        wrong = FieldError(HEADER, "invalid_header", "must be one key of 1-255 visible ASCII characters")
        raise InvalidRequest(errors=(wrong,))
    return given[0].decode("ascii")


def fingerprint(*parts: bytes) -> str:
    """What tells one request from another under the same key."""
    return hashlib.sha256(b"\x00".join(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request by its key, bound to who sends it and where; `fingerprint` is of all that was asked for."""

    organization_id: str
    user_id: str
    route: str
    key: str
    fingerprint: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What makes it the same request."""
        return (self.organization_id, self.user_id, self.route, self.key)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a keyed request: who works on it under which id, and the reply once there is one."""

    fingerprint: str
    work_id: UUID
    holder: str
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply, and whether it was given before."""

    reply: bytes
    is_replayed: bool


class ReplyStore(Protocol):
    """Where records are kept for a day, the same for every replica."""

    async def claim(self, request: KeyedRequest, mine: Record) -> Record | None:
        """Keep `mine` unless there is a record; the one there is, or None when `mine` was kept.

        A store that cannot tell whether a holder lives keeps `mine` in place of one that was ABANDONED.
        """
        ...

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the record with its reply."""
        ...

    async def release(self, request: KeyedRequest, record: Record) -> None:
        """Forget this record, which has no reply: the request failed and may be sent again."""
        ...

    async def is_alive(self, holder: str) -> bool:
        """Whether the process that works on a record still runs, as far as the store can tell."""
        ...


async def patiently(claim: Callable[[], Awaitable[Claimed]]) -> Claimed:
    """What `claim` gives, tried again while the first request runs: IdempotencyConflict (409) only after PATIENCE."""
    give_up = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return await claim()
        except IdempotencyConflict:
            if time.monotonic() >= give_up:
                raise
        await asyncio.sleep(LOOK_EVERY.total_seconds())


class Idempotency:
    """Does keyed work once. Only success is kept; a process that died in the middle is taken over under its id."""

    def __init__(self, replies: ReplyStore, holder: str) -> None:
        """`holder` names this process, and no other that ever was."""
        self._replies = replies
        self._holder = holder
        self._running: dict[tuple[str, str, str, str], Record] = {}

    async def once(
        self, request: KeyedRequest, work: Callable[[UUID], Awaitable[bytes]], *, work_id: UUID | None = None
    ) -> Answered:
        """The reply of `work`, which gets `work_id` or that of the dead process it takes over from.

        Raises IdempotencyMismatch (422) for another request under the same key, IdempotencyConflict (409) when the
        first is still being worked on after PATIENCE.
        """
        mine = Record(request.fingerprint, work_id or new_id(), self._holder)
        record = await patiently(lambda: self._claim(request, mine))
        if record.reply is not None:
            return Answered(record.reply, is_replayed=True)
        self._running[request.name] = record
        try:
            reply = await work(record.work_id)
        except BaseException:
            await self._replies.release(request, record)
            raise
        else:
            await self._replies.finish(request, Record(record.fingerprint, record.work_id, self._holder, reply))
            return Answered(reply, is_replayed=False)
        finally:
            self._running.pop(request.name, None)

    async def _claim(self, request: KeyedRequest, mine: Record) -> Record:
        """Our own record, a dead process's to take over, or one with a reply."""
        known = self._running.get(request.name) or await self._claim_in_store(request, mine)
        if known.fingerprint != request.fingerprint:
            raise IdempotencyMismatch
        if known is not mine and known.reply is None and await self._is_worked_on(request, known):
            raise IdempotencyConflict(retry_after=1)
        return known

    async def _claim_in_store(self, request: KeyedRequest, mine: Record) -> Record:
        self._running[request.name] = mine  # one of this process asks at a time
        try:
            return await self._replies.claim(request, mine) or mine
        finally:
            del self._running[request.name]

    async def _is_worked_on(self, request: KeyedRequest, known: Record) -> bool:
        if known.holder == self._holder:
            return request.name in self._running
        return await self._replies.is_alive(known.holder)
