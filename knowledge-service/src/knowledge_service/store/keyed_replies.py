"""Replies to keyed requests in CQL for 24 hours; who works on one right now is in this process and in redis-data."""

import contextlib
from datetime import timedelta
from uuid import UUID

import orjson

from knowledge_service.domain.keyed import KeptReply
from shared.cql import Cql
from shared.errors import CapabilityUnavailable
from shared.idempotency import KEPT, KeyedRequest, Record
from shared.redis import RedisStore

CLAIMED = timedelta(seconds=15)
"""Longer than a request may take: after this time its process has died."""
DELETE_IF_SAME = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"

FIND = (
    "SELECT fingerprint, status, location, body FROM keyed_replies "
    "WHERE organization_id = ? AND user_id = ? AND route = ? AND key = ?"
)
SAVE = (
    "INSERT INTO keyed_replies (organization_id, user_id, route, key, fingerprint, status, location, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?"
)


class CqlKeyedReplies:
    """Without Redis two replicas may work on the same key at the same moment; one process never does."""

    def __init__(self, cql: Cql, redis: RedisStore) -> None:
        self._cql = cql
        self._redis = redis

    async def claim(self, request: KeyedRequest, mine: Record) -> Record | None:
        """Take the key for as long as a request may take, unless somebody has it or it has a reply."""
        try:
            held = await self._redis.run(
                lambda redis: redis.set(_claim(request), _encode(mine), nx=True, get=True, ex=CLAIMED)
            )
        except CapabilityUnavailable:
            held = None
        # After the claim: whoever held it before has kept the reply before letting go.
        rows = await self._cql.execute(FIND, request.name)
        if not rows:
            return _decode(held) if isinstance(held, bytes) else None
        if held is None:
            await self.release(request, mine)
        row = rows[0]
        return Record(row.fingerprint, mine.work_id, "", KeptReply(row.status, row.location, row.body).packed())

    async def finish(self, request: KeyedRequest, record: Record) -> None:
        """Keep the reply, then let go."""
        reply = KeptReply.unpacked(record.reply or b"")
        columns = (record.fingerprint, reply.status, reply.location, reply.body)
        await self._cql.execute(SAVE, (*request.name, *columns, int(KEPT.total_seconds())))
        await self.release(request, record)

    async def release(self, request: KeyedRequest, record: Record) -> None:
        """Let go of the key, unless somebody else has it by now."""
        with contextlib.suppress(CapabilityUnavailable):
            await self._redis.run(lambda redis: redis.eval(DELETE_IF_SAME, 1, _claim(request), _encode(record)))

    async def is_alive(self, holder: str) -> bool:
        """Nobody can tell here: the claim of a process that died ends by itself."""
        return holder != ""


def _claim(request: KeyedRequest) -> str:
    return f"knowledge:claim:{':'.join(request.name)}"


def _encode(record: Record) -> bytes:
    return orjson.dumps([record.fingerprint, str(record.work_id), record.holder])


def _decode(raw: bytes) -> Record:
    fingerprint, work_id, holder = orjson.loads(raw)
    return Record(fingerprint, UUID(work_id), holder)
