"""The one subscription of this process: every wake-up that any replica publishes, for whoever listens here."""

import asyncio

import structlog
from redis.exceptions import RedisError

from notification_service.domain.inbox import Owner
from notification_service.domain.live import Listeners
from notification_service.store.inboxes import CHANNEL
from shared.redis import RedisStore

log = structlog.get_logger()

LOOK_EVERY = 5.0
AGAIN_AFTER = 0.5


class Wakeups:
    """Turns messages of the channel into wake-ups; after a lost connection everybody is woken once."""

    def __init__(self, redis: RedisStore, listeners: Listeners) -> None:
        self._redis = redis
        self._listeners = listeners

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("wakeups_lost", error=repr(error))
            await asyncio.sleep(AGAIN_AFTER)

    async def _listen(self) -> None:
        client = self._redis.blocking_client()
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                self._listeners.wake_all()
                while True:
                    message = await channel.get_message(ignore_subscribe_messages=True, timeout=LOOK_EVERY)
                    if message is None:
                        await channel.ping()
                        continue
                    organization_id, _, user_id = message["data"].decode().partition("/")
                    self._listeners.wake(Owner(organization_id, user_id))
        finally:
            await client.aclose()
