"""The analysis of an organization's own conversations over a period."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from task_worker.domain.conversations import Conversations, Turn
from task_worker.domain.execution import Progress
from task_worker.domain.period import Period, day
from task_worker.domain.report import Finding, Report, Section, change, escape, share
from task_worker.domain.task import Attempt
from task_worker.jobs.frames import Frame, database

LIMIT = 200_000
"""Turns that one analysis reads per period; a report says when there were more."""

CREATE = """
CREATE TABLE {name} (message_id VARCHAR, session_id VARCHAR, question VARCHAR, outcome VARCHAR, confidence DOUBLE,
                     article_id VARCHAR, rating VARCHAR, created_at TIMESTAMP)"""
INSERT = """
INSERT INTO {name} SELECT unnest($1::VARCHAR[]), unnest($2::VARCHAR[]), unnest($3::VARCHAR[]), unnest($4::VARCHAR[]),
       unnest($5::DOUBLE[]), unnest($6::VARCHAR[]), unnest($7::VARCHAR[]), unnest($8::TIMESTAMP[])"""

TOTAL = "SELECT count(*) AS questions FROM turns"
SESSIONS = "SELECT count(DISTINCT session_id) AS conversations FROM turns"
BY_DAY = """
SELECT strftime(created_at, '%Y-%m-%d') AS day, count(*) AS questions,
       count(*) FILTER (outcome = 'answered') AS answered
FROM turns GROUP BY day ORDER BY day"""
BUSIEST_DAY = """
SELECT strftime(created_at, '%Y-%m-%d') AS day, count(*) AS questions
FROM turns GROUP BY day ORDER BY questions DESC, day LIMIT 1"""
BY_HOUR = """
SELECT hour(created_at) AS hour_utc, count(*) AS questions FROM turns GROUP BY hour_utc ORDER BY hour_utc"""
BUSIEST_HOUR = """
SELECT hour(created_at) AS hour_utc, count(*) AS questions
FROM turns GROUP BY hour_utc ORDER BY questions DESC, hour_utc LIMIT 1"""
ANSWERED = "SELECT count(*) FROM turns WHERE outcome = 'answered'"
OUTCOMES = """
SELECT outcome, count(*) AS questions, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent
FROM turns GROUP BY outcome ORDER BY questions DESC, outcome"""
CONFIDENCE = """
SELECT outcome, round(avg(confidence), 3) AS mean, round(median(confidence), 3) AS median,
       round(quantile_cont(confidence, 0.1), 3) AS lowest_tenth, count(*) AS questions
FROM turns GROUP BY outcome ORDER BY questions DESC, outcome"""
MEAN_CONFIDENCE = "SELECT round(avg(confidence), 3) FROM turns"
TOP_QUESTIONS = """
SELECT any_value(question) AS question, count(*) AS asked, count(*) FILTER (outcome = 'answered') AS answered
FROM turns GROUP BY regexp_replace(lower(trim(question)), '[\\s?!.]+$', '')
ORDER BY asked DESC, question LIMIT 10"""
UNANSWERED = """
SELECT any_value(question) AS question, count(*) AS asked, mode(outcome) AS outcome,
       round(max(confidence), 3) AS best_confidence
FROM turns WHERE outcome <> 'answered'
GROUP BY regexp_replace(lower(trim(question)), '[\\s?!.]+$', '') ORDER BY asked DESC, question LIMIT 10"""
RATINGS = """
SELECT rating, count(*) AS ratings FROM turns WHERE rating IS NOT NULL GROUP BY rating ORDER BY rating DESC"""
RATED_UP = "SELECT count(*) FROM turns WHERE rating = 'up'"
RATED = "SELECT count(*) FROM turns WHERE rating IS NOT NULL"
TREND = """
SELECT * FROM (
    SELECT 'questions' AS figure, (SELECT count(*) FROM turns) AS now, (SELECT count(*) FROM before) AS before
    UNION ALL SELECT 'conversations', (SELECT count(DISTINCT session_id) FROM turns),
                     (SELECT count(DISTINCT session_id) FROM before)
    UNION ALL SELECT 'answered', (SELECT count(*) FROM turns WHERE outcome = 'answered'),
                     (SELECT count(*) FROM before WHERE outcome = 'answered')
    UNION ALL SELECT 'not answered', (SELECT count(*) FROM turns WHERE outcome <> 'answered'),
                     (SELECT count(*) FROM before WHERE outcome <> 'answered'))"""

NEEDED = """\
- To analyse figures of your own (sales, orders, visits ...), send them along: a CSV with a header row in the field \
`file` of `POST /tasks/analyze`, up to 10 MiB. A column of dates gives the trend, a column of numbers the amounts, a \
column of names the movers.
- To analyse conversations, name a period in which questions were asked, for example "last 7 days", "last month" or \
"Q3 2026"; without one the last 30 days are taken."""


@dataclass(slots=True)
class _Read:
    """Turns of one period."""

    turns: list[Turn] = field(default_factory=list)
    is_cut: bool = False


class ConversationAnalysis:
    """Volume, outcomes, confidence, top and unanswered questions, and the trend against the period before."""

    def __init__(self, conversations: Conversations, memory: int) -> None:
        self._conversations = conversations
        self._memory = memory

    async def report(self, attempt: Attempt, period: Period, progress: Progress) -> Report:
        """Read both periods, then let duckdb count in a thread that is interrupted when the task is cancelled."""
        before = period.before()
        await progress(10, f"reading conversations of {period.label}")
        now = await self._read(attempt.organization_id, period)
        await progress(40, "reading the period before")
        earlier = await self._read(attempt.organization_id, before)
        if not now.turns:
            newest = await self._newest(attempt.organization_id)
            return nothing_found(attempt.description, period, before, len(earlier.turns), newest)
        await progress(70, f"counting {len(now.turns)} questions")
        return await self._count(attempt, period, before, now, earlier)

    async def _read(self, organization_id: str, period: Period) -> _Read:
        read = _Read()
        async for page in self._conversations.pages(organization_id, period.since, period.until):
            room = LIMIT - len(read.turns)
            read.turns += page[:room]
            if len(page) > room:
                read.is_cut = True
                break
        return read

    async def _newest(self, organization_id: str) -> datetime | None:
        """When the organization was last asked anything."""
        async for page in self._conversations.pages(organization_id, None, None):
            if page:
                return max(turn.created_at for turn in page)
        return None

    async def _count(self, attempt: Attempt, period: Period, before: Period, now: _Read, earlier: _Read) -> Report:
        with database(self._memory) as connection:
            counting = asyncio.create_task(
                asyncio.to_thread(_report, connection, attempt.description, period, before, now, earlier)
            )
            try:
                return await asyncio.shield(counting)
            except asyncio.CancelledError:
                connection.interrupt()
                await asyncio.wait({counting})
                raise


def _load(connection: duckdb.DuckDBPyConnection, name: str, turns: Sequence[Turn]) -> None:
    connection.execute(CREATE.format(name=name))
    if not turns:
        return
    columns: list[list[object]] = [
        [e.message_id for e in turns],
        [e.session_id for e in turns],
        [e.question for e in turns],
        [e.outcome for e in turns],
        [e.confidence for e in turns],
        [e.article_id for e in turns],
        [e.rating for e in turns],
        [e.created_at.replace(tzinfo=None) for e in turns],
    ]
    connection.execute(INSERT.format(name=name), columns)


def _report(
    connection: duckdb.DuckDBPyConnection, description: str, period: Period, before: Period, now: _Read, earlier: _Read
) -> Report:
    _load(connection, "turns", now.turns)
    _load(connection, "before", earlier.turns)
    frame = Frame(connection)
    total, asked_before = len(now.turns), len(earlier.turns)
    answered = int(frame.number(ANSWERED))
    summary = (
        f"{total} question{'s' if total != 1 else ''} in {period.label}, {share(answered, total)} % answered; "
        f"{change(total, asked_before)} in the period before ({before.label})."
    )
    sections = (
        Section("What was looked at", text=_looked_at(description, period, before, now, earlier)),
        Section("Volume", (*_volume(frame, total), *_trend(frame, total, asked_before, before))),
        Section("Outcomes and confidence", _outcomes(frame, total, answered)),
        Section("Questions", _questions(frame)),
    )
    extra = {**looked_at(period, before), "sources": [{"name": "conversations", "rows": total, "before": asked_before}]}
    return Report(f"Conversations in {period.label}", summary, sections, extra)


def _looked_at(description: str, period: Period, before: Period, now: _Read, earlier: _Read) -> str:
    asked, asked_before = len(now.turns), len(earlier.turns)
    source = (
        f"- Source: the organization's own conversations, {asked} questions in the period and {asked_before} in the "
        "one before; in the queries below they are the tables `turns` and `before`"
    )
    lines = [
        f"- Asked for: {_quoted(description)}",
        f"- Period: {period.describe()}",
        f"- Compared with: {before.label} (UTC)",
        source,
    ]
    if now.is_cut or earlier.is_cut:
        lines.append(f"- Only the newest {LIMIT:,} questions of a period were read")
    return "\n".join(lines)


def _volume(frame: Frame, total: int) -> tuple[Finding, ...]:
    busiest_day, busiest_hour = frame.rows(BUSIEST_DAY)[0], frame.rows(BUSIEST_HOUR)[0]
    return (
        Finding("Questions", total, TOTAL),
        Finding("Conversations", int(frame.number(SESSIONS)), SESSIONS),
        frame.tabled("Busiest day", busiest_day[0], BY_DAY, f"{busiest_day[1]} of {total} questions."),
        frame.tabled(
            "Busiest hour of the day", f"{busiest_hour[0]}:00 UTC", BY_HOUR, f"{busiest_hour[1]} of {total} questions."
        ),
    )


def _trend(frame: Frame, total: int, asked_before: int, before: Period) -> tuple[Finding, ...]:
    moved = round(100 * (total - asked_before) / asked_before, 1) if asked_before else None
    detail = f"Questions against {before.label}: {change(total, asked_before)}."
    return (frame.tabled("Change in percent against the period before", moved, TREND, detail),)


def _outcomes(frame: Frame, total: int, answered: int) -> tuple[Finding, ...]:
    findings = [
        frame.tabled("Answered, percent", share(answered, total), OUTCOMES, f"{answered} of {total} questions."),
        frame.tabled("Mean confidence", frame.number(MEAN_CONFIDENCE), CONFIDENCE),
    ]
    rated = int(frame.number(RATED))
    if rated:
        up = int(frame.number(RATED_UP))
        findings.append(frame.tabled("Rated up, percent", share(up, rated), RATINGS, f"{up} of {rated} ratings."))
    return tuple(findings)


def _questions(frame: Frame) -> tuple[Finding, ...]:
    top = frame.tabled("Most asked", None, TOP_QUESTIONS)
    rows = top.table.rows if top.table else ()
    findings = [Finding("Most asked", rows[0][0], top.query, f"Asked {rows[0][1]} times.", top.table)]
    missing = frame.table(UNANSWERED)
    if missing.rows:
        detail = "An article, or another wording of one, would answer these."
        findings.append(
            Finding("Most asked without an answer", missing.rows[0][0], UNANSWERED.strip(), detail, missing)
        )
    else:
        findings.append(Finding("Questions without an answer", 0, UNANSWERED.strip(), "Every question was answered."))
    return tuple(findings)


def looked_at(period: Period, before: Period) -> dict[str, object]:
    """The periods of a report as data."""
    return {
        "period": {
            "label": period.label,
            "since": period.since.isoformat(),
            "until": period.until.isoformat(),
            "stated_as": period.phrase,
        },
        "compared_with": {
            "label": before.label,
            "since": before.since.isoformat(),
            "until": before.until.isoformat(),
        },
    }


def nothing_found(
    description: str, period: Period, before: Period, asked_before: int, newest: datetime | None
) -> Report:
    """The report when there is nothing to analyse: what was looked at and what is needed."""
    summary = f"No question was asked in {period.label}, so there is nothing to analyse there."
    last = f"the newest question was asked on {day(newest)}" if newest else "nobody has asked anything yet"
    source = (
        f"- Source: the organization's own conversations: 0 questions in the period, {asked_before} in the period "
        f"before ({before.label}); {last}"
    )
    text = f"- Asked for: {_quoted(description)}\n- Period: {period.describe()}\n{source}"
    finding = Finding(
        "Questions in the period",
        0,
        f"SELECT count(*) FROM turns WHERE created_at >= '{period.since.isoformat()}' "  # noqa: S608 - shown only
        f"AND created_at < '{period.until.isoformat()}'",
    )
    sections = (
        Section("What was looked at", (finding,), text),
        Section("What is needed", text=NEEDED),
    )
    extra = {**looked_at(period, before), "sources": [{"name": "conversations", "rows": 0, "before": asked_before}]}
    return Report(f"Nothing to analyse in {period.label}", summary, sections, extra)


def _quoted(description: str) -> str:
    return f'"{escape(description)[:300]}"'
