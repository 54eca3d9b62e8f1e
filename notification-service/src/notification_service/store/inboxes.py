"""Inboxes in Redis: a stream of notifications and a sorted set of the unread ones, one pair for each user.

Keys carry the organization as a hash tag, so that everything of a tenant is on one node of a cluster:
`notifications:{ORG}:inbox:USER` stream, `…:unread:USER` sorted set (member: stream id, score: milliseconds),
`…:event:USER:EVENT` the stream id of an event that is known.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

import orjson
from redis.asyncio import Redis

from notification_service.domain.inbox import START, Delivered, Event, Notification, Owner, Page, Place
from shared.redis import RedisStore

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""An entry of a stream: its id and its fields."""

CHANNEL = "notifications:wake"
FILLED = "notifications:filled"
FILLING = "notifications:filling"
FILLING_AT_MOST = timedelta(seconds=30)

# KEYS: inbox, unread, event. ARGV: wanted stream id or '*', inbox size, seconds kept, channel, wake-up, the fields.
# All or nothing: a crash between two commands can neither double an event nor leave it unannounced.
DELIVER = """
local known = redis.call('GET', KEYS[3])
if known then return {known, 1} end
local id = redis.pcall('XADD', KEYS[1], ARGV[1], unpack(ARGV, 6))
if type(id) == 'table' then id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 6)) end
redis.call('ZADD', KEYS[2], string.match(id, '^(%d+)-'), id)
while redis.call('XLEN', KEYS[1]) > tonumber(ARGV[2]) do
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
    redis.call('XDEL', KEYS[1], oldest)
    redis.call('ZREM', KEYS[2], oldest)
end
redis.call('SET', KEYS[3], id, 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return {id, 0}
"""


def _key(owner: Owner, kind: str) -> str:
    return f"notifications:{{{owner.organization_id}}}:{kind}:{owner.user_id}"


def _stream_id(place: Place) -> str:
    return f"{place.milliseconds}-{place.sequence}"


def _place(stream_id: bytes) -> Place:
    milliseconds, _, sequence = stream_id.partition(b"-")
    return Place(int(milliseconds), int(sequence))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class RedisInboxes:
    """Inboxes that survive a restart of Redis (append-only file) and are rebuilt when it was emptied."""

    def __init__(self, redis: RedisStore, *, size: int, kept: timedelta) -> None:
        self._redis = redis
        self._size = size
        self._kept = int(kept.total_seconds())

    async def deliver(self, event: Event, *, rebuilt: bool = False) -> Delivered:
        """Put an event into its owner's inbox, once, and wake who listens."""
        owner = event.owner
        keys = (_key(owner, "inbox"), _key(owner, "unread"), f"{_key(owner, 'event')}:{event.event_id}")
        wanted = f"{_milliseconds(event.occurred_at)}-*" if rebuilt else "*"
        wake = f"{owner.organization_id}/{owner.user_id}"
        fields = ("type", event.type, "title", event.title, "body", event.body, "data", orjson.dumps(event.data))
        values = (wanted, self._size, self._kept, CHANNEL, wake, *fields, "at", event.occurred_at.isoformat())
        stream_id, duplicate = await self._redis.run(lambda redis: redis.eval(DELIVER, len(keys), *keys, *values))
        return Delivered(_place(stream_id), bool(duplicate))

    async def page(self, owner: Owner, before: Place | None, limit: int, *, unread: bool) -> Page:
        """The newest notifications before a place."""
        waiting = await self._redis.run(lambda redis: redis.zrange(_key(owner, "unread"), 0, -1))
        new = {_place(cast("bytes", member)) for member in waiting}
        if unread:
            places = sorted((place for place in new if before is None or place < before), reverse=True)
            found = await self._at(owner, places[: limit + 1])
        else:
            last = "+" if before is None else f"({_stream_id(before)}"
            found = await self._entries(
                lambda redis: redis.xrevrange(_key(owner, "inbox"), max=last, min="-", count=limit + 1)
            )
        notifications = [_notification(stream_id, fields, new) for stream_id, fields in found]
        return Page(notifications[:limit], len(new), len(notifications) > limit)

    async def after(self, owner: Owner, place: Place, limit: int) -> Sequence[Notification]:
        """The oldest notifications behind a place."""
        first = f"({_stream_id(place)}"
        found = await self._entries(lambda redis: redis.xrange(_key(owner, "inbox"), min=first, max="+", count=limit))
        return [_notification(stream_id, fields, {_place(stream_id)}) for stream_id, fields in found]

    async def latest(self, owner: Owner) -> Place:
        """The place of the newest notification."""
        found = await self._entries(lambda redis: redis.xrevrange(_key(owner, "inbox"), count=1))
        return _place(found[0][0]) if found else START

    async def mark_read(self, owner: Owner, place: Place) -> bool:
        """Mark one as read, if it is there."""
        if not await self._at(owner, [place]):
            return False
        await self._redis.run(lambda redis: redis.zrem(_key(owner, "unread"), _stream_id(place)))
        return True

    async def mark_all_read(self, owner: Owner) -> None:
        """Mark all of them as read."""
        await self._redis.run(lambda redis: redis.delete(_key(owner, "unread")))

    async def _entries(self, command: Callable[[Redis], Awaitable[object]]) -> list[Entry]:
        """What a range of a stream gives; redis-py's types allow for replies decoded to text, which ours are not."""
        return cast("list[Entry]", await self._redis.run(command) or [])

    async def _at(self, owner: Owner, places: Sequence[Place]) -> list[Entry]:
        """The entries at these places, in this order; absent ones are left out."""
        if not places:
            return []

        async def read(redis: Redis) -> list[list[Entry]]:
            pipeline = redis.pipeline(transaction=False)
            for place in places:
                pipeline.xrange(_key(owner, "inbox"), _stream_id(place), _stream_id(place))
            return list(await pipeline.execute())

        return [entry for entries in await self._redis.run(read) for entry in entries]


def _notification(stream_id: bytes, fields: Mapping[bytes, bytes], unread: set[Place]) -> Notification:
    place = _place(stream_id)
    return Notification(
        place=place,
        type=fields[b"type"].decode(),
        title=fields[b"title"].decode(),
        body=fields[b"body"].decode(),
        data=orjson.loads(fields[b"data"]),
        created_at=datetime.fromisoformat(fields[b"at"].decode()),
        read=place not in unread,
    )


class RedisMarker:
    """A key that only a filled Redis has."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def is_filled(self) -> bool:
        """Whether the key is there."""
        return bool(await self._redis.run(lambda redis: redis.exists(FILLED)))

    async def claim(self) -> bool:
        """Whether this process may fill it; a claim that ends in a crash is free again after 30 s."""
        return bool(await self._redis.run(lambda redis: redis.set(FILLING, "1", nx=True, ex=FILLING_AT_MOST)))

    async def release(self) -> None:
        """Give the claim back without having filled it."""
        await self._redis.run(lambda redis: redis.delete(FILLING))

    async def set_filled(self) -> None:
        """Set the key and give the claim back."""

        async def settle(redis: Redis) -> None:
            pipeline = redis.pipeline()
            pipeline.set(FILLED, "1")
            pipeline.delete(FILLING)
            await pipeline.execute()

        await self._redis.run(settle)
