import pytest

from chat_service.domain import message_ids
from chat_service.domain.analytics import Analytics
from chat_service.domain.turns import LastRating
from chat_service.testing import InMemoryCounters
from shared.errors import CapabilityUnavailable


async def test_counters_add_up() -> None:
    analytics = Analytics(InMemoryCounters())
    for wording, cache in (("What is Redis?", "none"), ("what is redis", "process"), ("What is Redis?", "redis")):
        analytics.count_message("o", wording, "answered", cache, 2.5)  # type: ignore[arg-type] # literals of a loop
    analytics.count_message("o", "Moons?", "no_answer", "none", 40)
    message_id = message_ids.new_message_id()
    analytics.count_rating("o", message_id, LastRating(2, "down"))
    analytics.count_rating("o", message_id, LastRating(1, "up"))

    summary = await analytics.summary("o")

    assert summary.messages == 4
    assert summary.outcomes == {"answered": 3, "clarify": 0, "no_answer": 1, "handoff": 0}
    assert summary.hit_rate == 0.5
    assert (summary.popular[0].question, summary.popular[0].count) == ("What is Redis?", 3)
    assert (summary.up, summary.down) == (0, 1)
    assert summary.p50 is not None
    assert 2 <= summary.p50 <= 3


async def test_counters_wait_while_they_cannot_be_added() -> None:
    counters = InMemoryCounters()
    analytics = Analytics(counters)
    counters.is_away = True
    analytics.count_message("o", "What?", "answered", "none", 1)

    with pytest.raises(CapabilityUnavailable):
        await analytics.add_up()
    counters.is_away = False

    assert (await analytics.summary("o")).messages == 1
