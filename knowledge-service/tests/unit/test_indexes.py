"""Where an index is built and asked, with real processes."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import psutil
import pytest

from knowledge_service.clients.index_process import IndexProcess
from knowledge_service.domain.articles import ArticleText, PublishedArticle
from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.decisions import Asked, Decision
from knowledge_service.domain.indexes import HostedIndex, Indexes, LocalIndex, Room
from knowledge_service.domain.publications import Publication, digest_of, pack
from knowledge_service.domain.ranking import Hit
from knowledge_service.domain.starter import starter_articles
from shared import deadlines
from shared.errors import CapabilityUnavailable, DeadlineExceeded, Overloaded
from shared.ids import new_id
from shared.testing import eventually


def children() -> list[psutil.Process]:
    """The processes of this test that hold indexes; the run may have others, its engines for example."""
    return [each for each in psutil.Process().children() if "knowledge_service.clients.index_child" in each.cmdline()]


MIB = 1024 * 1024
STARTER = starter_articles()
QUESTIONS = [wording for article in STARTER for wording in article.text.wordings[:2]]
LONG = " ".join(QUESTIONS)[:4_000]


def publication_of(organization: str, articles: Sequence[PublishedArticle]) -> tuple[Publication, bytes]:
    packed = pack(articles)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Publication(organization, 1, new_id(), at, len(articles), 1, digest_of(packed)), packed


def large(organization: str, articles: int = 400) -> tuple[Publication, bytes]:
    """More than is ranked in the process of the requests."""
    text = "word " * 200
    return publication_of(
        organization,
        [PublishedArticle(str(UUID(int=n)), n, ArticleText(f"What is thing {n}?", text)) for n in range(1, articles)],
    )


@pytest.fixture
async def host() -> AsyncIterator[IndexProcess]:
    process = IndexProcess(1024 * MIB)
    yield process
    await process.close()


@pytest.fixture
def indexes(host: IndexProcess) -> Indexes:
    return Indexes(Bm25Ranker, memory=64 * MIB, rooms=[Room(host, 100 * MIB, 64 * MIB)])


def without_alternatives(decision: Decision) -> object:
    def short(hit: Hit) -> tuple[str, int, str, float, float, float]:
        article = hit.article
        return article.article_id, article.version, article.text.answer, hit.score, hit.confidence, hit.covers

    return (
        decision.outcome,
        decision.answer and short(decision.answer),
        decision.confidence,
        [short(hit) for hit in decision.suggestions],
        decision.follow_ups,
        [short(hit) for hit in decision.candidates],
    )


async def test_a_process_of_its_own_decides_the_same_to_the_last_bit(host: IndexProcess) -> None:
    publication, packed = publication_of("o", STARTER)
    here = await Indexes(Bm25Ranker, memory=64 * MIB).build(publication, packed)
    await host.build(publication.publication_id, packed)

    for question in [*QUESTIONS, "waht is redis", "price 17", "", "🙂", LONG]:
        for asked in (Asked(question), Asked(question, 20, "de", ("billing",))):
            there = await host.answer(publication.publication_id, asked)
            assert without_alternatives(there) == without_alternatives(await here.answer("o", asked))


async def test_small_ones_are_ranked_here_and_large_ones_elsewhere(indexes: Indexes) -> None:
    small, big = publication_of("small", STARTER), large("large")

    assert isinstance(await indexes.build(*small), LocalIndex)
    assert isinstance(await indexes.build(*big), HostedIndex)
    assert isinstance(indexes.find(small[0]), LocalIndex)
    assert isinstance(indexes.find(big[0]), HostedIndex)


async def test_an_index_elsewhere_can_be_asked_searched_and_looked_up(indexes: Indexes) -> None:
    index = await indexes.build(*large("o"))

    decision = await index.answer("o", Asked("what is thing 17"))
    hits = await index.search("o", "thing 23", 3)
    versions = await index.versions([str(UUID(int=5)), str(UUID(int=7)), "none of ours"])

    assert decision.answer is not None
    assert decision.answer.article.text.question == "What is thing 17?"
    assert hits[0].article.version == 23
    assert versions == {str(UUID(int=5)): 5, str(UUID(int=7)): 7}


async def test_ranking_and_building_a_large_one_leave_the_loop_alone(indexes: Indexes) -> None:
    made = large("o", 3_000)
    began = time.thread_time()

    index = await indexes.build(*made)
    for _ in range(10):
        await index.answer("o", Asked(LONG))

    (child,) = children()
    assert time.thread_time() - began < 0.1
    assert sum(child.cpu_times()[:2]) > 1, "the work is done elsewhere"


async def test_a_killed_process_costs_a_rebuild_and_nothing_else(indexes: Indexes) -> None:
    publication, packed = large("o")
    index = await indexes.build(publication, packed)
    (child,) = children()
    child.kill()

    assert await eventually(lambda: indexes.find(publication) is None)
    with pytest.raises(CapabilityUnavailable):
        await index.answer("o", Asked("thing 17"))
    again = await indexes.build(publication, packed)
    assert (await again.answer("o", Asked("what is thing 17"))).outcome == "answered"


async def test_who_asks_while_the_process_dies_is_refused_at_once(indexes: Indexes) -> None:
    index = await indexes.build(*large("o"))
    (child,) = children()
    child.suspend()
    asking = asyncio.create_task(index.answer("o", Asked("what is thing 17")))
    await asyncio.sleep(0.01)
    child.kill()

    with pytest.raises(CapabilityUnavailable):
        async with asyncio.timeout(2):
            await asking


async def test_the_process_ends_with_its_owner(host: IndexProcess) -> None:
    publication, packed = large("o")
    await host.build(publication.publication_id, packed)
    (child,) = children()

    await host.close()

    assert not psutil.pid_exists(child.pid)


async def test_the_process_knows_no_secret(host: IndexProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_CURSOR_KEY", "secret")
    await host.build(*_named(large("o")))

    (child,) = children()

    assert "KNOWLEDGE_CURSOR_KEY" not in child.environ()


def _named(made: tuple[Publication, bytes]) -> tuple[UUID, bytes]:
    return made[0].publication_id, made[1]


async def test_one_that_does_not_fit_into_memory_takes_no_other_down() -> None:
    small = IndexProcess(400 * MIB)
    good, bad = large("good"), publication_of("bad", [PublishedArticle("1", 1, ArticleText("x", "y " * 25_000_000))])
    await small.build(*_named(good))

    with pytest.raises(CapabilityUnavailable):
        await small.build(*_named(bad))

    assert (await small.answer(good[0].publication_id, Asked("what is thing 17"))).outcome == "answered"
    await small.close()


async def test_without_room_the_newcomer_waits_and_the_resident_answers(host: IndexProcess) -> None:
    indexes = Indexes(Bm25Ranker, memory=64 * MIB, rooms=[Room(host, 100 * MIB, 4 * MIB)])
    resident, newcomer = large("resident", 1_000), large("newcomer", 1_000)
    index = await indexes.build(*resident)

    with pytest.raises(Overloaded) as refusal:
        await indexes.build(*newcomer)

    assert refusal.value.retry_after is not None
    assert (await index.answer("resident", Asked("what is thing 17"))).outcome == "answered"


async def test_a_request_waits_no_longer_than_it_may(indexes: Indexes) -> None:
    index = await indexes.build(*large("o"))
    (child,) = children()
    child.suspend()
    deadlines.begin(b"50")

    with pytest.raises(DeadlineExceeded):
        await index.answer("o", Asked("what is thing 17"))
    deadlines.lift()
    child.resume()

    assert (await index.answer("o", Asked("what is thing 17"))).outcome == "answered"


async def test_a_long_question_to_a_small_base_is_ranked_beside_the_loop() -> None:
    index = await Indexes(Bm25Ranker, memory=64 * MIB).build(*publication_of("o", STARTER))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await index.answer("o", Asked(LONG))
    counting.cancel()

    assert turns > 3
