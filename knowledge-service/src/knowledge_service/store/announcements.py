"""New epochs over redis-data: told at once, remembered under a key, told again later if Redis was away."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.background import Background
from shared.contracts.knowledge import EpochAnnounced
from shared.errors import CapabilityUnavailable
from shared.redis import RedisStore

log = structlog.get_logger()

PENDING = 10_000
"""Announcements remembered while Redis is away."""

Heard = Callable[[str, int], Awaitable[None]]


class RedisAnnouncements:
    """Losing Redis costs other replicas up to a second: they ask the store themselves."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._pending: dict[str, int] = {}
        self._background = Background()

    async def start(self, heard: Heard) -> None:
        """Pass on what is heard, and repeat what could not be told."""
        self._background.keep(functools.partial(self._keep_listening, heard))
        self._background.keep(self._keep_repeating)

    async def close(self) -> None:
        """Stop listening."""
        await self._background.close()

    async def announce(self, organization_id: str, epoch: int) -> None:
        """Say that this epoch answers from now on; repeated in the background when Redis is away."""
        try:
            await self._tell(organization_id, epoch)
        except CapabilityUnavailable:
            if len(self._pending) < PENDING:
                self._pending[organization_id] = epoch

    async def announced(self, organization_id: str) -> int | None:
        """The epoch last announced, or None when Redis does not know or is away."""
        try:
            raw = await self._redis.run(lambda redis: redis.get(EpochAnnounced.key_of(organization_id)))
        except CapabilityUnavailable:
            return None
        return int(raw) if raw is not None else None

    async def _tell(self, organization_id: str, epoch: int) -> None:
        announced = EpochAnnounced(organization_id=organization_id, epoch=epoch)

        async def both(redis: Redis) -> Any:  # noqa: ANN401 - what a pipeline returns
            pipeline = redis.pipeline(transaction=False)
            pipeline.set(EpochAnnounced.key_of(organization_id), epoch)
            pipeline.publish(EpochAnnounced.CHANNEL, announced.model_dump_json())
            return await pipeline.execute()

        await self._redis.run(both)

    async def _keep_repeating(self) -> None:
        while True:
            await asyncio.sleep(1)
            for organization_id, epoch in list(self._pending.items()):
                try:
                    await self._tell(organization_id, epoch)
                except CapabilityUnavailable:
                    break
                if self._pending.get(organization_id) == epoch:
                    del self._pending[organization_id]

    async def _keep_listening(self, heard: Heard) -> None:
        while True:
            try:
                await self._listen(heard)
            except (RedisError, OSError) as error:
                log.warning("announcements_unheard", error=repr(error))
            await asyncio.sleep(1)

    async def _listen(self, heard: Heard) -> None:
        client = self._redis.blocking_client()
        try:
            async with client.pubsub() as subscription:
                await subscription.subscribe(EpochAnnounced.CHANNEL)
                async for message in subscription.listen():
                    if message["type"] == "message":
                        await _pass_on(message["data"], heard)
        finally:
            await client.aclose()


async def _pass_on(payload: bytes, heard: Heard) -> None:
    try:
        told = EpochAnnounced.model_validate_json(payload)
    except ValidationError as error:
        log.warning("announcement_unreadable", errors=error.error_count())
        return
    await heard(told.organization_id, told.epoch)
