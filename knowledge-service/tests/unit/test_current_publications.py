"""Which publication answers: freshness, restarts, outages, the starter base."""

import asyncio
from pathlib import Path

import pytest

from knowledge_service.domain.articles import Article, ArticleText, now
from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.current_publications import STARTER, CurrentPublication, CurrentPublications, packaged
from knowledge_service.domain.indexes import Index, Indexes, LocalIndex
from knowledge_service.domain.publications import Publication, pack, split, unpack
from knowledge_service.domain.publishing import Publishing
from knowledge_service.domain.ranking import Ranker
from knowledge_service.domain.seeding import Seeding
from knowledge_service.domain.starter import starter_articles
from knowledge_service.store.snapshots import DiskSnapshots
from knowledge_service.testing import (
    InMemoryArticles,
    InMemoryPublications,
    InMemorySnapshots,
    KnownEpochs,
    Outage,
    Wants,
)
from shared.errors import CapabilityUnavailable
from shared.ids import new_id

ORGANIZATION = "an organization"
SAMPLE = starter_articles()[:5]


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class World:
    """What replicas share, and a way to make one more of them."""

    def __init__(self) -> None:
        self.outage = Outage()
        self.articles = InMemoryArticles(self.outage)
        self.publications = InMemoryPublications(self.outage)
        self.announced = KnownEpochs()
        self.clock = Clock()

    def replica(
        self, snapshots: InMemorySnapshots | DiskSnapshots | None = None, *, wants: Wants | None = None
    ) -> CurrentPublications:
        return CurrentPublications(
            self.publications,
            snapshots or InMemorySnapshots(),
            hints=self.announced,
            organizations=wants or Wants(),
            indexes=Indexes(Bm25Ranker, memory=100 * 1024 * 1024),
            starter=SAMPLE,
            clock=self.clock,
        )

    async def publish(self, replica: CurrentPublications, *questions: str, organization: str = ORGANIZATION) -> int:
        for question in questions:
            at = now()
            await self.articles.put(organization, Article(new_id(), 1, ArticleText(question, "So."), at, at))
        publishing = Publishing(self.articles, self.publications, replica, self.announced)
        return (await publishing.publish(organization)).epoch


@pytest.fixture
def world() -> World:
    return World()


def ranker_of(current: CurrentPublication) -> Ranker:
    assert isinstance(current.index, LocalIndex)
    return current.index.ranker


async def questions_of(replica: CurrentPublications, organization: str = ORGANIZATION) -> list[str]:
    return sorted(article.text.question for article in ranker_of(await replica.current(organization)).articles)


async def test_the_replica_that_published_answers_with_it_at_once(world: World) -> None:
    replica = world.replica()
    await replica.current(ORGANIZATION)

    epoch = await world.publish(replica, "One?")

    assert (await replica.current(ORGANIZATION)).epoch == epoch == 1
    assert await questions_of(replica) == ["One?"]


async def test_another_replica_sees_it_after_a_second_without_being_told(world: World) -> None:
    one, other = world.replica(), world.replica()
    await world.publish(one, "One?")
    await other.current(ORGANIZATION)
    await world.publish(one, "Two?")

    assert await questions_of(other) == ["One?"]
    world.clock.at += 1.01
    assert await questions_of(other) == ["One?", "Two?"]


async def test_another_replica_sees_it_at_once_when_told(world: World) -> None:
    one, other = world.replica(), world.replica()
    await world.publish(one, "One?")
    await other.current(ORGANIZATION)
    epoch = await world.publish(one, "Two?")

    await other.heard(ORGANIZATION, epoch)

    assert await questions_of(other) == ["One?", "Two?"]


async def test_an_outage_keeps_the_last_edition_and_says_so(world: World) -> None:
    replica = world.replica()
    await world.publish(replica, "One?")
    world.outage.on = True
    world.clock.at += 3_600

    during = await replica.current(ORGANIZATION)

    assert during.degraded
    assert [article.text.question for article in ranker_of(during).articles] == ["One?"]
    world.outage.on = False
    assert not (await replica.current(ORGANIZATION)).degraded


async def test_a_restart_during_an_outage_answers_from_the_disk(world: World, tmp_path: Path) -> None:
    await world.publish(world.replica(DiskSnapshots(tmp_path)), "One?")
    world.outage.on = True

    restarted = world.replica(DiskSnapshots(tmp_path))

    assert await questions_of(restarted) == ["One?"]


async def test_a_damaged_file_counts_as_none(world: World, tmp_path: Path) -> None:
    await world.publish(world.replica(DiskSnapshots(tmp_path)), "One?")
    (file,) = (tmp_path / "publications").glob("*.publication")

    for damage in (file.read_bytes()[:-3], b"", b"{}\n", b"[1]\n", b"\x00\xff"):
        file.write_bytes(damage)
        assert DiskSnapshots(tmp_path).load(ORGANIZATION) is None


async def test_a_disk_that_cannot_be_written_costs_no_answer(world: World, tmp_path: Path) -> None:
    (tmp_path / "publications").write_text("a file where the folder should be")

    replica = world.replica(DiskSnapshots(tmp_path))
    await world.publish(replica, "One?")

    assert await questions_of(replica) == ["One?"]


async def test_the_starter_base_answers_for_those_who_published_nothing_and_want_it(world: World) -> None:
    replica = world.replica(wants=Wants("plain"))

    wanted, unwanted = await replica.current("anybody"), await replica.current("plain")

    assert (wanted.epoch, len(ranker_of(wanted).articles)) == (0, len(SAMPLE))
    assert wanted.scorer.startswith("bm25-1+")
    assert (unwanted.epoch, len(ranker_of(unwanted).articles)) == (0, 0)


async def test_everybody_shares_one_index_of_the_starter_base(world: World) -> None:
    replica = world.replica()

    rankers = {id(ranker_of(await replica.current(f"organization {n}"))) for n in range(20)}

    assert len(rankers) == 1


async def test_during_an_outage_nobody_who_published_gets_the_starter_base(world: World) -> None:
    await world.publish(world.replica(), "One?")
    world.outage.on = True
    elsewhere = world.replica()

    with pytest.raises(CapabilityUnavailable):
        await elsewhere.current(ORGANIZATION)
    assert (await elsewhere.current("a newcomer")).degraded


async def test_seeding_twice_changes_nothing_and_a_new_release_replaces(world: World) -> None:
    replica = world.replica()
    publishing = Publishing(world.articles, world.publications, replica, world.announced)
    seeding = Seeding(world.articles, world.publications, publishing)

    first = await seeding.seed(SAMPLE)
    again = await seeding.seed(SAMPLE)
    newer = await seeding.seed(SAMPLE[1:])

    assert first == again
    assert (newer.epoch, newer.articles) == (2, len(SAMPLE) - 1)
    assert first.digest == packaged(SAMPLE)[0].digest
    assert first.organization_id == STARTER


async def test_an_index_is_built_once_however_many_ask_at_once(world: World) -> None:
    await world.publish(world.replica(), "One?")
    builds: list[int] = []
    replica = world.replica()
    build = replica._indexes.build

    async def counted(publication: Publication, packed: bytes) -> Index:
        builds.append(publication.articles)
        return await build(publication, packed)

    replica._indexes.build = counted  # type: ignore[method-assign]  # counts

    await asyncio.gather(*(replica.current(ORGANIZATION) for _ in range(20)))

    assert builds == [1]


def test_packing_is_the_same_whatever_the_order_and_reads_back_whole() -> None:
    articles = starter_articles()

    packed = pack(articles)

    assert pack(list(reversed(articles))) == packed
    assert sorted(unpack(packed), key=lambda a: a.article_id) == sorted(articles, key=lambda a: a.article_id)
    assert b"".join(split(packed)) == packed
    assert unpack(pack([])) == []
