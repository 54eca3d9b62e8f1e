import asyncio
from datetime import timedelta

import pytest

from chat_service.domain.answers import CachedAnswers, Question, normalise
from chat_service.domain.epochs import Epochs
from chat_service.testing import Clock, InMemoryAnswers, InMemoryEpochFeed, InMemoryKnowledge
from shared.errors import CapabilityUnavailable

ORGANIZATION = "organization"
REDIS = Question(ORGANIZATION, "What is Redis?")


class Chain:
    """The cache over its twins, with a clock to move."""

    def __init__(self, shared: InMemoryAnswers | None = None, knowledge: InMemoryKnowledge | None = None) -> None:
        self.clock = Clock()
        self.knowledge = knowledge or InMemoryKnowledge()
        self.feed = InMemoryEpochFeed()
        self.shared = shared or InMemoryAnswers()
        self.epochs = Epochs(self.feed, self.knowledge, self.clock)
        self.answers = CachedAnswers(
            self.knowledge, self.shared, self.epochs, ttl=timedelta(hours=1), size=2, clock=self.clock
        )


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    made.knowledge.publish(ORGANIZATION, "What is Redis?", "A store.")
    return made


@pytest.mark.parametrize("text", ["What is Redis?", "  what is redis ", "WHAT  IS\tREDIS?!"])
def test_typing_does_not_matter(text: str) -> None:
    assert normalise(text) == "what is redis"


async def test_the_second_time_it_comes_from_the_process(chain: Chain) -> None:
    first = await chain.answers.find(REDIS)
    second = await chain.answers.find(Question(ORGANIZATION, " what is redis"))

    assert (first.cache, second.cache) == ("none", "process")
    assert second.answer == first.answer


async def test_another_replica_finds_it_in_redis(chain: Chain) -> None:
    await chain.answers.find(REDIS)
    await asyncio.sleep(0)
    other = Chain(chain.shared, chain.knowledge)

    assert (await other.answers.find(REDIS)).cache == "redis"


async def test_a_published_change_is_never_hidden_by_the_cache(chain: Chain) -> None:
    await chain.answers.find(REDIS)
    chain.feed.epochs[ORGANIZATION] = chain.knowledge.publish(ORGANIZATION, "What is Redis?", "Something better.")
    chain.clock.now += 1.1

    assert (await chain.answers.find(REDIS)).answer.reply == "Something better."


async def test_a_published_change_is_seen_without_redis_too(chain: Chain) -> None:
    await chain.answers.find(REDIS)
    chain.feed.is_away = True
    chain.knowledge.publish(ORGANIZATION, "What is Redis?", "Something better.")
    chain.clock.now += 1.1

    assert (await chain.answers.find(REDIS)).answer.reply == "Something better."


async def test_an_older_epoch_heard_late_changes_nothing(chain: Chain) -> None:
    chain.knowledge.publish(ORGANIZATION, "What is Redis?", "Something better.")
    await chain.answers.find(REDIS)

    chain.epochs.announce(ORGANIZATION, 1)

    assert (await chain.answers.find(REDIS)).answer.epoch == 2


async def test_many_askers_are_one_question_to_the_source(chain: Chain) -> None:
    await asyncio.gather(*(chain.answers.find(REDIS) for _ in range(20)))

    assert len(chain.knowledge.asked) == 1


async def test_a_no_answer_is_kept_only_briefly(chain: Chain) -> None:
    unknown = Question(ORGANIZATION, "What else?")
    await chain.answers.find(unknown)
    chain.shared.kept.clear()
    chain.clock.now += 31

    assert (await chain.answers.find(unknown)).cache == "none"


async def test_without_the_source_what_is_cached_is_served_and_the_rest_refused(chain: Chain) -> None:
    await chain.answers.find(REDIS)
    chain.knowledge.is_away = True
    chain.clock.now += 60

    assert (await chain.answers.find(REDIS)).cache == "process"
    with pytest.raises(CapabilityUnavailable):
        await chain.answers.find(Question(ORGANIZATION, "What else?"))


async def test_tags_and_language_make_another_question(chain: Chain) -> None:
    await chain.answers.find(REDIS)

    assert (await chain.answers.find(Question(ORGANIZATION, "What is Redis?", tags=("a",)))).cache == "none"
    assert (await chain.answers.find(Question(ORGANIZATION, "What is Redis?", language="de"))).cache == "none"
