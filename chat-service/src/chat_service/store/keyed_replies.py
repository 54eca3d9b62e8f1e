"""Replies to keyed requests: in redis-data, and in CQL for the time that redis-data is away."""

import asyncio
import hashlib
import time
from datetime import timedelta
from uuid import UUID

import orjson
import structlog

from chat_service.domain.idempotency import KEPT, KeyedRequest, Record
from shared.cql import UNSET, Cql
from shared.errors import CapabilityUnavailable, Overloaded
from shared.redis import RedisStore

log = structlog.get_logger()

FIND = """
SELECT fingerprint, message_id, body FROM keyed_replies
WHERE organization_id = ? AND user_id = ? AND route = ? AND key = ?"""
KEEP = """
INSERT INTO keyed_replies (organization_id, user_id, route, key, fingerprint, message_id, body)
VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ?"""
FORGET = "DELETE FROM keyed_replies WHERE organization_id = ? AND user_id = ? AND route = ? AND key = ?"

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
    """Keyed replies for 24 hours. After redis-data was away, CQL is asked too, for what was kept there meanwhile."""

    def __init__(self, redis: RedisStore, cql: Cql, holder: str) -> None:
        self._redis = redis
        self._cql = cql
        self._holder = holder
        self._also_in_cql_until = 0.0

    async def claim(self, request: KeyedRequest, record: Record) -> Record | None:
        """Keep the record unless there is one; the one there is, or None when this one was kept."""
        name, raw = _name(request), _encode(record)
        try:
            found = await self._redis.run(lambda redis: redis.set(name, raw, nx=True, get=True, ex=KEPT))
        except CapabilityUnavailable:
            self._also_in_cql_until = time.monotonic() + KEPT.total_seconds()
            return await self._claim_in_cql(request, record, write=True)
        if isinstance(found, bytes):
            return _decode(found)
        if time.monotonic() < self._also_in_cql_until:
            return await self._claim_in_cql(request, record, write=False)
        return None

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the record with its reply."""
        name, raw = _name(request), _encode(record)
        try:
            await self._redis.run(lambda redis: redis.set(name, raw, ex=KEPT))
        except CapabilityUnavailable:
            self._also_in_cql_until = time.monotonic() + KEPT.total_seconds()
            await self._keep_in_cql(request, record)

    async def release(self, request: KeyedRequest) -> None:
        """Forget a request that failed."""
        name = _name(request)
        try:
            await self._redis.run(lambda redis: redis.delete(name))
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
        return None

    async def _keep_in_cql(self, request: KeyedRequest, record: Record) -> None:
        body = UNSET if record.body is None else record.body
        values = (*request.name, record.fingerprint, record.message_id, body, int(KEPT.total_seconds()))
        try:
            await self._cql.execute(KEEP, values)
        except (CapabilityUnavailable, Overloaded):
            log.warning("keyed_reply_only_in_process")


def _encode(record: Record) -> bytes:
    head = orjson.dumps([record.fingerprint, str(record.message_id), record.holder])
    return head if record.body is None else head + b"\n" + record.body


def _decode(raw: bytes) -> Record:
    head, separator, body = raw.partition(b"\n")
    fingerprint, message_id, holder = orjson.loads(head)
    return Record(fingerprint, UUID(message_id), holder, body if separator else None)
