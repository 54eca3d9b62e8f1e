"""Replies to keyed requests: in redis-data, and in CQL for the time that redis-data is away."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from datetime import timedelta
from uuid import UUID

import orjson
import structlog

from shared.cql import UNSET, Cql
from shared.errors import CapabilityUnavailable, Overloaded
from shared.idempotency import KEPT, KeyedRequest, Record
from shared.metrics import LOST
from shared.redis import RedisStore

log = structlog.get_logger()

FIND = """
SELECT fingerprint, message_id, body FROM keyed_replies
WHERE organization_id = ? AND user_id = ? AND route = ? AND key = ?"""
KEEP = """
INSERT INTO keyed_replies (organization_id, user_id, route, key, fingerprint, message_id, body)
VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ?"""
FORGET = "DELETE FROM keyed_replies WHERE organization_id = ? AND user_id = ? AND route = ? AND key = ?"

DELETE_IF_SAME = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"

REMEMBERED = 2_000
"""Replies of this process kept in its memory, for the time that no store can be reached."""
ALIVE = timedelta(milliseconds=1_500)
ALIVE_EVERY = timedelta(milliseconds=400)
ELSEWHERE = "cql"
"""The holder of a record found in CQL: nobody can tell whether it still runs, so it counts as dead."""


def _name(request: KeyedRequest) -> str:
    key = hashlib.sha256(f"{request.user_id}\x00{request.route}\x00{request.key}".encode()).hexdigest()
    return f"chat:keyed:{{{request.organization_id}}}:{key}"


def _holder(holder: str) -> str:
    return f"chat:alive:{holder}"


class StoredReplies:
    """Keyed replies for 24 hours. After redis-data was away, CQL is asked too, for what was kept there meanwhile.

    Losing both raises nothing: what this process itself has done is known in its memory, which is read only then.
    """

    def __init__(self, redis: RedisStore, cql: Cql, holder: str) -> None:
        self._redis = redis
        self._cql = cql
        self._holder = holder
        self._also_in_cql_until = 0.0
        self._own: OrderedDict[tuple[str, str, str, str], Record] = OrderedDict()

    async def claim(self, request: KeyedRequest, mine: Record) -> Record | None:
        """Keep the record unless there is one; the one there is, or None when this one was kept."""
        name, raw = _name(request), _encode(mine)
        try:
            found = await self._redis.run(lambda redis: redis.set(name, raw, nx=True, get=True, ex=KEPT))
        except CapabilityUnavailable:
            self._also_in_cql_until = time.monotonic() + KEPT.total_seconds()
            return await self._claim_in_cql(request, mine, write=True)
        if isinstance(found, bytes):
            return _decode(found)
        if time.monotonic() < self._also_in_cql_until:
            return await self._claim_in_cql(request, mine, write=False)
        return None

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the record with its reply."""
        name, raw = _name(request), _encode(record)
        self._remember(request, record)
        try:
            await self._redis.run(lambda redis: redis.set(name, raw, ex=KEPT))
        except CapabilityUnavailable:
            self._also_in_cql_until = time.monotonic() + KEPT.total_seconds()
            await self._keep_in_cql(request, record)

    async def release(self, request: KeyedRequest, record: Record) -> None:
        """Forget a request that failed, unless another process has taken it over."""
        name, raw = _name(request), _encode(record)
        try:
            await self._redis.run(lambda redis: redis.eval(DELETE_IF_SAME, 1, name, raw))
        except CapabilityUnavailable:
            try:
                await self._cql.execute(FORGET, request.name)
            except (CapabilityUnavailable, Overloaded):
                log.info("keyed_request_not_released")

    async def is_alive(self, holder: str) -> bool:
        """Whether a process still runs, as far as redis-data knows."""
        if holder == ELSEWHERE:
            return False
        try:
            return bool(await self._redis.run(lambda redis: redis.exists(_holder(holder))))
        except CapabilityUnavailable:
            return False

    async def keep_alive(self) -> None:
        """Say that this process runs, for ever."""
        while True:
            try:
                await self._redis.run(lambda redis: redis.set(_holder(self._holder), b"1", px=ALIVE))
            except CapabilityUnavailable:
                log.debug("not_announced_alive")
            await asyncio.sleep(ALIVE_EVERY.total_seconds())

    async def _claim_in_cql(self, request: KeyedRequest, record: Record, *, write: bool) -> Record | None:
        try:
            rows = await self._cql.execute(FIND, request.name)
            if rows:
                return Record(rows[0].fingerprint, rows[0].message_id, ELSEWHERE, rows[0].body)
            if write:
                await self._keep_in_cql(request, record)
        except (CapabilityUnavailable, Overloaded):
            log.warning("keyed_request_unchecked")
            LOST.labels("keyed_request_check").inc()
        return self._own.get(request.name) if write else None

    def _remember(self, request: KeyedRequest, record: Record) -> None:
        self._own[request.name] = record
        self._own.move_to_end(request.name)
        if len(self._own) > REMEMBERED:
            self._own.popitem(last=False)

    async def _keep_in_cql(self, request: KeyedRequest, record: Record) -> None:
        body = UNSET if record.reply is None else record.reply
        values = (*request.name, record.fingerprint, record.work_id, body, int(KEPT.total_seconds()))
        try:
            await self._cql.execute(KEEP, values)
        except (CapabilityUnavailable, Overloaded):
            log.warning("keyed_reply_only_in_process")
            LOST.labels("keyed_reply").inc()


def _encode(record: Record) -> bytes:
    head = orjson.dumps([record.fingerprint, str(record.work_id), record.holder])
    return head if record.reply is None else head + b"\n" + record.reply


def _decode(raw: bytes) -> Record:
    head, separator, body = raw.partition(b"\n")
    fingerprint, message_id, holder = orjson.loads(head)
    return Record(fingerprint, UUID(message_id), holder, body if separator else None)
