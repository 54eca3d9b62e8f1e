"""What knowledge-service announces is what chat-service and its own replicas hear, over a real redis-data."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from chat_service.domain.turns import Owner
from chat_service.store.announcements import Announcements, RedisEpochs
from knowledge_service.store.announcements import RedisAnnouncements
from shared.background import Background
from shared.contracts.knowledge import EpochAnnounced
from shared.ids import new_id
from shared.redis import RedisStore
from shared.testing import eventually

pytestmark = pytest.mark.engines


class Ears:
    """Everything that chat-service was told."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []

    def epoch(self, organization_id: str, epoch: int) -> None:
        self.epochs.append((organization_id, epoch))

    def deleted(self, owner: Owner, session_id: str) -> None:
        raise AssertionError((owner, session_id))


@pytest.fixture
async def redis(redis_data_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_data_url, capability="knowledge")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def chat(redis: RedisStore) -> AsyncIterator[Ears]:
    """chat-service, listening."""
    ears = Ears()
    async with Background() as background:
        background.keep(Announcements(redis, on_epoch=ears.epoch, on_deleted=ears.deleted).keep_listening)
        await eventually(lambda: listeners(redis))
        yield ears


async def listeners(redis: RedisStore) -> int:
    ((_, count),) = await redis.run(lambda client: client.pubsub_numsub(EpochAnnounced.CHANNEL))
    return int(count)


async def test_chat_hears_what_knowledge_announces(redis: RedisStore, chat: Ears) -> None:
    organization_id = str(new_id())

    await RedisAnnouncements(redis).announce(organization_id, 7)

    await eventually(lambda: chat.epochs == [(organization_id, 7)])


async def test_whoever_comes_later_finds_the_last_epoch(redis: RedisStore) -> None:
    known, silent = str(new_id()), str(new_id())
    knowledge = RedisAnnouncements(redis)
    await knowledge.announce(known, 1)
    await knowledge.announce(known, 12)

    assert await RedisEpochs(redis).announced([silent, known]) == {known: 12}
    assert await knowledge.announced(known) == 12
    assert await knowledge.announced(silent) is None


async def test_another_replica_of_knowledge_hears_it_too(redis: RedisStore) -> None:
    heard: list[tuple[str, int]] = []
    organization_id = str(new_id())

    async def note(organization_id: str, epoch: int) -> None:
        heard.append((organization_id, epoch))

    replica = RedisAnnouncements(redis)
    await replica.start(note)
    await eventually(lambda: listeners(redis))
    await RedisAnnouncements(redis).announce(organization_id, 3)

    await eventually(lambda: heard == [(organization_id, 3)])
    await replica.close()


@pytest.mark.parametrize(
    "nonsense", [b"", b"7", b"[]", b'{"organization_id":"o"}', b'{"organization_id":"o","epoch":-1}']
)
async def test_what_cannot_be_read_is_passed_over(redis: RedisStore, chat: Ears, nonsense: bytes) -> None:
    organization_id = str(new_id())

    with capture_logs() as logged:
        await redis.run(lambda client: client.publish(EpochAnnounced.CHANNEL, nonsense))
        await RedisAnnouncements(redis).announce(organization_id, 2)
        await eventually(lambda: chat.epochs == [(organization_id, 2)])

    assert [line["event"] for line in logged] == ["announcement_unreadable"]
