"""Publishing and answering over twins: what is drafted answers once it is published, whole and at once."""

import asyncio
from datetime import UTC, datetime

import pytest

from knowledge_service.domain.answering import Answering
from knowledge_service.domain.articles import Article, ArticleText, now
from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.current_publications import CurrentPublications
from knowledge_service.domain.decisions import Asked
from knowledge_service.domain.indexes import Indexes
from knowledge_service.domain.publications import Publication, unpack
from knowledge_service.domain.publishing import ATTEMPTS, PublishConflict, Publishing
from knowledge_service.domain.starter import starter_articles
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
MIB = 1024 * 1024


class Contested(InMemoryPublications):
    """Somebody else takes the epoch first, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def publish(self, publication: Publication, packed: bytes) -> bool:
        if self.times:
            self.times -= 1
            await super().publish(publication, packed)
            return False
        return await super().publish(publication, packed)


class World:
    def __init__(self, publications: InMemoryPublications | None = None) -> None:
        self.outage = Outage()
        self.articles = InMemoryArticles(self.outage)
        self.publications = publications or InMemoryPublications(self.outage)
        self.announced = KnownEpochs()
        self.current = CurrentPublications(
            self.publications,
            InMemorySnapshots(),
            hints=self.announced,
            organizations=Wants(),
            indexes=Indexes(Bm25Ranker, memory=64 * MIB),
            starter=starter_articles(),
        )
        self.publishing = Publishing(self.articles, self.publications, self.current, self.announced)
        self.answering = Answering(self.current)

    async def write(self, question: str, answer: str = "So.") -> Article:
        at = now()
        article = Article(new_id(), 1, ArticleText(question, answer), at, at)
        await self.articles.put(ORGANIZATION, article)
        return article

    async def answer_to(self, question: str) -> str | None:
        decision = (await self.answering.ask(ORGANIZATION, Asked(question))).decision
        return None if decision.answer is None else decision.answer.article.text.answer


@pytest.fixture
def world() -> World:
    return World()


async def test_a_draft_answers_once_it_is_published(world: World) -> None:
    await world.write("What is a quarzel?", "A thing.")
    assert await world.answer_to("what is a quarzel") is None

    publication = await world.publishing.publish(ORGANIZATION)

    assert (publication.epoch, publication.articles) == (1, 1)
    assert await world.answer_to("what is a quarzel") == "A thing."


async def test_epochs_rise_by_one_and_are_announced(world: World) -> None:
    for epoch in (1, 2, 3):
        assert (await world.publishing.publish(ORGANIZATION)).epoch == epoch
        assert world.announced.epochs == {ORGANIZATION: epoch}


async def test_what_was_removed_answers_no_more_after_the_next_publish(world: World) -> None:
    article = await world.write("What is a quarzel?", "A thing.")
    await world.publishing.publish(ORGANIZATION)
    await world.articles.remove(ORGANIZATION, article.article_id)
    assert await world.answer_to("what is a quarzel") == "A thing."

    await world.publishing.publish(ORGANIZATION)

    assert await world.answer_to("what is a quarzel") is None


async def test_an_empty_base_may_be_published_and_knows_nothing(world: World) -> None:
    await world.publishing.publish(ORGANIZATION)

    assert await world.answer_to("What is Redis?") is None
    assert (await world.answering.epoch(ORGANIZATION)).epoch == 1


async def test_who_published_nothing_is_answered_by_the_starter_base_under_epoch_zero(world: World) -> None:
    answer = await world.answering.ask(ORGANIZATION, Asked("What is Redis?"))

    assert answer.decision.outcome == "answered"
    assert answer.publication.epoch == 0
    assert (await world.answering.epoch(ORGANIZATION)).scorer == answer.publication.scorer


async def test_an_epoch_that_somebody_else_took_is_tried_again_with_the_next() -> None:
    world = World(Contested(ATTEMPTS - 1))

    assert (await world.publishing.publish(ORGANIZATION)).epoch == ATTEMPTS


async def test_a_publish_that_never_gets_an_epoch_is_a_conflict_and_announces_nothing() -> None:
    world = World(Contested(ATTEMPTS))

    with pytest.raises(PublishConflict):
        await world.publishing.publish(ORGANIZATION)
    assert world.announced.epochs == {}


async def test_publishes_at_the_same_time_take_turns(world: World) -> None:
    await world.write("One?")

    published = await asyncio.gather(*(world.publishing.publish(ORGANIZATION) for _ in range(5)))

    assert sorted(each.epoch for each in published) == [1, 2, 3, 4, 5]


async def test_a_publication_holds_every_article_as_it_was(world: World) -> None:
    made = [await world.write(f"Question {number}?") for number in range(20)]

    publication = await world.publishing.publish(ORGANIZATION)

    stored = unpack(await world.publications.packed(publication))
    assert sorted(each.article_id for each in stored) == sorted(str(each.article_id) for each in made)


async def test_without_the_store_nothing_is_published(world: World) -> None:
    world.outage.on = True

    with pytest.raises(CapabilityUnavailable):
        await world.publishing.publish(ORGANIZATION)
    assert world.announced.epochs == {}


async def test_a_search_keeps_the_order_of_its_queries_and_says_how_old_it_is(world: World) -> None:
    await world.write("What is a quarzel?")
    await world.write("What is a bramble?")
    publication = await world.publishing.publish(ORGANIZATION)

    found = await world.answering.search(ORGANIZATION, ["bramble", "quarzel", "nothing"], 1)

    assert [[hit.article.text.question for hit in hits] for hits in found.hits] == [
        ["What is a bramble?"],
        ["What is a quarzel?"],
        [],
    ]
    assert (found.as_of, found.degraded) == (publication.published_at, False)
    assert found.as_of > datetime(2026, 1, 1, tzinfo=UTC)
