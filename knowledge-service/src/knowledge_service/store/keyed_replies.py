"""Replies to keyed requests in CQL for 24 hours; who works on one right now is in this process and in redis-data."""

from datetime import timedelta

from knowledge_service.domain.keyed import KeyedReply, KeyedRequest
from shared.cql import Cql
from shared.errors import CapabilityUnavailable
from shared.redis import RedisStore

KEPT = timedelta(hours=24)
CLAIMED = timedelta(seconds=15)

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
        self._claimed: set[KeyedRequest] = set()

    async def find(self, request: KeyedRequest) -> KeyedReply | None:
        """The reply, unless there is none."""
        rows = await self._cql.execute(FIND, _place(request))
        if not rows:
            return None
        row = rows[0]
        return KeyedReply(row.fingerprint, row.status, row.body, row.location)

    async def save(self, request: KeyedRequest, reply: KeyedReply) -> None:
        """Remember a reply."""
        columns = (reply.fingerprint, reply.status, reply.location, reply.body)
        await self._cql.execute(SAVE, (*_place(request), *columns, int(KEPT.total_seconds())))

    async def claim(self, request: KeyedRequest) -> bool:
        """Whether nobody else is working on it."""
        if request in self._claimed:
            return False
        self._claimed.add(request)
        try:
            free = await self._redis.run(lambda redis: redis.set(_key(request), 1, nx=True, ex=CLAIMED))
        except CapabilityUnavailable:
            return True
        if not free:
            self._claimed.discard(request)
        return bool(free)

    async def release(self, request: KeyedRequest) -> None:
        """It is not worked on any more."""
        self._claimed.discard(request)
        try:
            await self._redis.run(lambda redis: redis.delete(_key(request)))
        except CapabilityUnavailable:
            return


def _place(request: KeyedRequest) -> tuple[str, str, str, str]:
    return request.organization_id, request.user_id, request.route, request.key


def _key(request: KeyedRequest) -> str:
    return f"knowledge:keyed:{':'.join(_place(request))}"
