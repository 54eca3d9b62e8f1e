"""Research: what is asked, what is found, what is missing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from task_worker.domain.research import Hit, Lookup, research_report, sub_questions, topics_of
from task_worker.domain.task import Attempt
from task_worker.jobs.research import Research

AS_OF = datetime(2026, 11, 25, tzinfo=UTC)
CACHE = Hit("a1", 3, "What is a cache?", "A store of recent answers.", 9.0, 0.9)
REDIS = Hit("a2", 1, "What is Redis?", "A fast store.", 4.0, 0.4)
NOISE = Hit("a3", 1, "How do I cook rice?", "With water.", 0.1, 0.02)


@pytest.mark.parametrize(
    ("description", "topics"),
    [
        ("latest trends in caching", ["caching"]),
        ("Research the latest trends in AI", ["AI"]),
        ("Please find out about refunds and shipping", ["refunds", "shipping"]),
        ("Redis vs. Memcached", ["Redis", "Memcached"]),
        ("a, b, cc, dd, ee, ff, gg, hh", ["cc", "dd", "ee", "ff", "gg"]),
        ("?!", ["?!"]),
    ],
)
def test_the_topics_are_what_the_description_is_about(description: str, topics: list[str]) -> None:
    assert topics_of(description) == topics


def test_questions_in_the_description_are_taken_as_they_are() -> None:
    asked = sub_questions("We lose customers. Why do people cancel? How do refunds work?")

    assert [question.text for question in asked] == ["Why do people cancel?", "How do refunds work?"]


def test_an_article_is_cited_once_however_many_questions_find_it() -> None:
    questions = sub_questions("latest trends in caching")
    lookup = Lookup(((CACHE, REDIS), (CACHE, NOISE), (), (NOISE,)), AS_OF)

    report = research_report("latest trends in caching", questions, lookup)
    result = report.as_json()

    assert [citation["article_id"] for citation in result["citations"]] == ["a1", "a2"]
    assert result["citations"][0]["serves"] == [questions[0].text, questions[1].text]
    assert "A store of recent answers." in result["report_markdown"]
    assert "cook rice" not in result["report_markdown"]


def test_what_no_article_answers_is_a_gap_and_a_suggested_article() -> None:
    questions = sub_questions("caching")
    lookup = Lookup(((CACHE,), (REDIS,), (), ()), AS_OF)

    result = research_report("caching", questions, lookup).as_json()

    assert result["gaps"] == [question.text for question in questions[1:]]
    assert [article["question"] for article in result["suggested_articles"]] == result["gaps"]


def test_an_empty_knowledge_base_leads_to_no_invented_finding() -> None:
    questions = sub_questions("latest trends in caching")
    result = research_report("latest trends in caching", questions, Lookup(((),) * 4, AS_OF)).as_json()

    assert result["findings"] == []
    assert result["summary"].startswith("0 articles")
    assert "Nothing is made up here" in result["report_markdown"]
    assert len(result["report_markdown"]) > 200


class Shelf:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def look_up(self, organization_id: str, queries: Sequence[str], limit: int) -> Lookup:
        assert organization_id == "org"
        self.asked += queries
        return Lookup(tuple((CACHE,)[:limit] for _ in queries), AS_OF)


async def test_every_sub_question_is_looked_up_in_one_call() -> None:
    shelf = Shelf()
    steps: list[int] = []
    attempt = Attempt("org", "user", uuid4(), 1, "research", "caching", AS_OF)

    async def progress(percent: int, _step: str) -> None:
        steps.append(percent)

    report = await Research(shelf)(attempt, progress)

    assert shelf.asked == [question.text for question in sub_questions("caching")]
    assert report.summary.startswith("1 article ")
    assert steps == sorted(steps)
