"""The analysis of an organization's conversations."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from task_worker.domain.conversations import Turn
from task_worker.domain.period import parse_period
from task_worker.domain.report import Finding, Report
from task_worker.domain.task import Attempt
from task_worker.jobs.conversations import ConversationAnalysis

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def turn(
    asked: str,
    question: str = "What is Redis?",
    outcome: str = "answered",
    confidence: float = 0.9,
    rating: str | None = None,
) -> Turn:
    created_at = datetime.fromisoformat(asked).replace(tzinfo=UTC)
    return Turn(str(uuid4()), f"s{created_at.day}", question, outcome, confidence, None, rating, created_at)


class Kept:
    def __init__(self, *turns: Turn) -> None:
        self._turns = turns

    async def pages(
        self, organization_id: str, since: datetime | None, until: datetime | None
    ) -> AsyncIterator[Sequence[Turn]]:
        assert organization_id == "org"
        yield []
        yield [
            e
            for e in self._turns
            if (since is None or e.created_at >= since) and (until is None or e.created_at < until)
        ]


async def analysed(description: str, *turns: Turn) -> Report:
    attempt = Attempt("org", "user", uuid4(), 1, "analyze", description, NOW)

    async def progress(percent: int, step: str) -> None:
        assert 0 <= percent <= 100
        assert step

    return await ConversationAnalysis(Kept(*turns), 64).report(attempt, parse_period(description, NOW), progress)


def finding(report: Report, title: str) -> Finding:
    return next(found for found in report.findings if found.title == title)


async def test_volume_outcomes_and_trend_are_counted_over_the_named_period() -> None:
    report = await analysed(
        "conversations in October 2026",
        turn("2026-10-01T09:00"),
        turn("2026-10-02T09:30", "what is redis"),
        turn("2026-10-02T11:00", "How do I knit?", "no_answer", 0.1),
        turn("2026-10-31T23:59", rating="up"),
        turn("2026-09-15T10:00"),
        turn("2026-09-16T10:00"),
        turn("2026-11-01T00:00"),
    )

    assert finding(report, "Questions").value == 4
    assert finding(report, "Answered, percent").value == 75
    assert finding(report, "Change in percent against the period before").value == 100
    assert finding(report, "Busiest day").value == "2026-10-02"
    assert finding(report, "Busiest hour of the day").value == "9:00 UTC"
    assert finding(report, "Most asked").detail == "Asked 3 times."
    assert finding(report, "Most asked without an answer").value == "How do I knit?"
    assert finding(report, "Rated up, percent").value == 100
    assert report.extra["period"]["stated_as"] == "october 2026"


async def test_every_finding_has_the_query_behind_it() -> None:
    report = await analysed("last month", turn("2026-10-05T09:00"))

    assert len(report.findings) >= 8
    assert all(found.query.startswith("SELECT") for found in report.findings)
    assert all(found.query in report.as_markdown() for found in report.findings)


async def test_nothing_unanswered_is_said_as_well() -> None:
    report = await analysed("last month", turn("2026-10-05T09:00"))

    assert finding(report, "Questions without an answer").value == 0


@pytest.mark.parametrize("turns", [(), (turn("2026-11-20T09:00"),)])
async def test_an_empty_period_leads_to_a_report_of_what_is_needed(turns: tuple[Turn, ...]) -> None:
    report = await analysed("Analyze sales trends Q4 2024", *turns)
    markdown = report.as_markdown()

    assert "Q4 2024" in markdown
    assert "2024-10-01 to 2024-12-31" in markdown
    assert "0 questions in the period" in markdown
    assert ("2026-11-20" if turns else "nobody has asked anything yet") in markdown
    assert "`file` of `POST /tasks/analyze`" in markdown
    assert len(markdown) > 200


async def test_text_of_visitors_stays_text() -> None:
    nasty = "<img src=x onerror=alert(1)> [click](http://evil) | `x`\n# Big"

    markdown = (await analysed("last month", turn("2026-10-05T09:00", nasty))).as_markdown()

    assert "<img" not in markdown
    assert "](http" not in markdown
    assert "\n# Big" not in markdown


async def test_many_questions_are_counted_quickly() -> None:
    start = datetime(2026, 10, 1)  # noqa: DTZ001 - made UTC by turn()
    many = [turn((start + timedelta(minutes=n)).isoformat(), f"Question {n % 500}?") for n in range(20_000)]

    report = await analysed("October 2026", *many)

    assert finding(report, "Questions").value == 20_000
