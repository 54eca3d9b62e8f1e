"""Periods as people write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_worker.domain.period import MONTHS, parse_period, shift

NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("Analyze sales trends Q4 2024", "2024-10-01", "2025-01-01"),
        ("customer purchase patterns from Q4 2024", "2024-10-01", "2025-01-01"),
        ("2024-Q1 please", "2024-01-01", "2024-04-01"),
        ("the fourth quarter of 2025", "2025-10-01", "2026-01-01"),
        ("what happened in q3", "2026-07-01", "2026-10-01"),
        ("H1 2025", "2025-01-01", "2025-07-01"),
        ("second half of 2024", "2024-07-01", "2025-01-01"),
        ("last month", "2026-10-01", "2026-11-01"),
        ("this month", "2026-11-01", "2026-11-25T14:30"),
        ("last quarter", "2026-07-01", "2026-10-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("last week", "2026-11-16", "2026-11-23"),
        ("this week", "2026-11-23", "2026-11-25T14:30"),
        ("last 7 days", "2026-11-18T14:30", "2026-11-25T14:30"),
        ("in the past two weeks", "2026-11-11T14:30", "2026-11-25T14:30"),
        ("last 24 hours", "2026-11-24T14:30", "2026-11-25T14:30"),
        ("the last 3 months", "2026-08-25T14:30", "2026-11-25T14:30"),
        ("March 2025", "2025-03-01", "2025-04-01"),
        ("Sept. 2025", "2025-09-01", "2025-10-01"),
        ("2025-03", "2025-03-01", "2025-04-01"),
        ("how was it in May?", "2026-05-01", "2026-06-01"),
        ("during December", "2025-12-01", "2026-01-01"),
        ("yesterday", "2026-11-24", "2026-11-25"),
        ("the day before yesterday", "2026-11-23", "2026-11-24"),
        ("today", "2026-11-25", "2026-11-25T14:30"),
        ("2025-03-14", "2025-03-14", "2025-03-15"),
        ("on March 14th, 2025", "2025-03-14", "2025-03-15"),
        ("14 March 2025", "2025-03-14", "2025-03-15"),
        ("orders of 2024", "2024-01-01", "2025-01-01"),
        ("2025-03-01 to 2025-03-15", "2025-03-01", "2025-03-16"),
        ("from January to March 2025", "2025-01-01", "2025-04-01"),
        ("from November to January 2025", "2024-11-01", "2025-02-01"),
        ("between Jan 2025 and Mar 2025", "2025-01-01", "2025-04-01"),
        ("Q3 to Q4 2024", "2024-07-01", "2025-01-01"),
        ("since March 2026", "2026-03-01", "2026-11-25T14:30"),
    ],
)
def test_a_named_period_is_understood(text: str, since: str, until: str) -> None:
    period = parse_period(text, NOW)

    assert (period.since, period.until) == (at(since), at(until))
    assert period.phrase is not None


@pytest.mark.parametrize(
    "text",
    ["volume by day", "may I see the trend?", "march the troops", "", "last 5000 years", "area 51", "order 20244"],
)
def test_without_a_period_the_last_thirty_days_are_taken_and_it_is_said_so(text: str) -> None:
    period = parse_period(text, NOW)

    assert (period.since, period.until) == (NOW - timedelta(days=30), NOW)
    assert "names no period" in period.describe()


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("Q4 2024", "2024-07-01", "2024-10-01"),
        ("March 2024", "2024-02-01", "2024-03-01"),
        ("last month", "2026-09-01", "2026-10-01"),
        ("this month", "2026-10-01", "2026-10-25T14:30"),
        ("this week", "2026-11-16", "2026-11-18T14:30"),
        ("today", "2026-11-24", "2026-11-24T14:30"),
        ("last 7 days", "2026-11-11T14:30", "2026-11-18T14:30"),
        ("January to March 2025", "2024-10-01", "2025-01-01"),
    ],
)
def test_it_is_compared_with_the_same_stretch_before(text: str, since: str, until: str) -> None:
    before = parse_period(text, NOW).before()

    assert (before.since, before.until) == (at(since), at(until))


@given(
    st.text(max_size=200)
    | st.from_regex(r"(since |last |between |from )?(q[0-9]|\d{1,5}|may|2[0-9]{3}(-\d\d){0,2})( to .*)?")
)
def test_any_text_gives_a_period_that_ends_after_it_begins(text: str) -> None:
    period = parse_period(text, NOW)

    assert period.since < period.until
    assert period.before().since < period.before().until <= period.since


@given(st.integers(2000, 2099), st.integers(1, 4))
def test_the_quarters_of_a_year_follow_one_another(year: int, quarter: int) -> None:
    period = parse_period(f"Q{quarter} {year}", NOW)

    assert period.before().until == period.since
    assert 90 <= (period.until - period.since).days <= 92


@given(st.integers(2000, 2099), st.sampled_from(MONTHS), st.sampled_from([3, 9]))
def test_a_month_is_found_in_any_sentence(year: int, month: str, length: int) -> None:
    name = month[:length]
    period = parse_period(f"Compare refunds for {name} {year}, by region", NOW)

    assert (period.since.year, MONTHS[period.since.month - 1], period.since.day) == (year, month, 1)
    assert period.until == shift(period.since, 1)


@given(st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)), st.integers(-120, 120))  # noqa: DTZ001 - months know no zone
def test_moving_by_months_keeps_the_day_or_the_last_of_the_month(moment: datetime, months: int) -> None:
    moved = shift(moment, months)

    assert (moved.year * 12 + moved.month) - (moment.year * 12 + moment.month) == months
    assert moved.day == moment.day or (moved.day < moment.day and (moved + timedelta(days=1)).day == 1)
