"""What replicas and neighbours announce on redis-data: published epochs and deleted sessions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import orjson
import structlog
from redis.exceptions import RedisError

from chat_service.domain.turns import Owner
from shared.contracts.knowledge import EpochAnnounced
from shared.errors import CapabilityUnavailable
from shared.metrics import LOST
from shared.redis import RedisStore

log = structlog.get_logger()

DELETED = "chat:sessions:deleted"
RECONNECT = timedelta(seconds=1)


class Announcements:
    """Reads the announced epochs, and listens to what changes."""

    def __init__(
        self,
        redis: RedisStore,
        *,
        on_epoch: Callable[[str, int], None],
        on_deleted: Callable[[Owner, str], None],
    ) -> None:
        self._redis = redis
        self._on_epoch = on_epoch
        self._on_deleted = on_deleted

    async def deleted(self, owner: Owner, session_id: str) -> None:
        """Tell the other replicas that a session is gone; without Redis they notice within 10 s."""
        payload = orjson.dumps([owner.organization_id, owner.user_id, session_id])
        try:
            await self._redis.run(lambda redis: redis.publish(DELETED, payload))
        except CapabilityUnavailable:
            log.info("deletion_not_announced")
            LOST.labels("deletion_announcement").inc()

    async def keep_listening(self) -> None:
        """Listen for ever; a broken subscription is made again after a second."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.info("announcements_interrupted", error=repr(error))
            await asyncio.sleep(RECONNECT.total_seconds())

    async def _listen(self) -> None:
        client = self._redis.blocking_client()
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(EpochAnnounced.CHANNEL, DELETED)
                async for message in subscription.listen():
                    self._take(message["channel"], message["data"])
        finally:
            await client.aclose()

    def _take(self, channel: bytes, data: bytes) -> None:
        try:
            if channel == EpochAnnounced.CHANNEL.encode():
                announced = EpochAnnounced.model_validate_json(data)
                self._on_epoch(announced.organization_id, announced.epoch)
            else:
                organization_id, user_id, session_id = orjson.loads(data)
                self._on_deleted(Owner(organization_id, user_id), session_id)
        except (ValueError, TypeError) as error:
            log.warning("announcement_unreadable", channel=channel.decode(), error=type(error).__name__)


class RedisEpochs:
    """The announced epochs by key."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def announced(self, organization_ids: Sequence[str]) -> Mapping[str, int]:
        """The epochs of these organizations, in one round trip; absent where none was announced."""
        keys = [EpochAnnounced.key_of(organization_id) for organization_id in organization_ids]
        values = await self._redis.run(lambda redis: redis.mget(keys))
        return {
            organization_id: epoch
            for organization_id, value in zip(organization_ids, values, strict=True)
            if value is not None and (epoch := _epoch(value)) is not None
        }


def _epoch(value: bytes | str) -> int | None:
    try:
        return int(value)
    except ValueError:
        log.warning("epoch_unreadable")
        return None
