"""Research in a knowledge base: sub-questions, deduplicated findings with citations, gaps, suggested articles."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from task_worker.domain.report import Finding, Report, Section, escape

FOUND = 0.5
"""Confidence from which an article counts as an answer to a sub-question."""
RELATED = 0.3
"""Confidence from which an article is worth a look."""
MAX_TOPICS = 5
PER_QUERY = 5
ORDERS = re.compile(
    r"^(?:please\s+)?(?:can you\s+|could you\s+)?(?:(?:do|make|write)\s+(?:a\s+|some\s+)?(?:research|report|summary)\s+"
    r"(?:on|about|into|of)|research(?:\s+(?:on|about|into))?|find\s+out(?:\s+about)?|look\s+into|look\s+up|investigate|"
    r"summari[sz]e|explain|describe|tell\s+me\s+about|analy[sz]e|study|explore|learn\s+about|what\s+do\s+we\s+know\s+about)\s+",
    re.IGNORECASE,
)
FRAMES = re.compile(
    r"^(?:the\s+)?(?:(?:latest|newest|current|recent|new|best|main|key|common|important)\s+)*"
    r"(?:trends?|developments?|news|practices?|state|basics|overview|introduction|details?|information|facts|topics?)\s+"
    r"(?:in|of|on|about|to|for|around|regarding)\s+",
    re.IGNORECASE,
)
SPLIT = re.compile(
    r"\s*(?:[;,\n]|\band\b|\bversus\b|\bvs\.?(?=\s)|\bor\b|\bas well as\b|\bcompared (?:to|with)\b)\s*", re.IGNORECASE
)
QUESTION = re.compile(r"[^?.!\n]+\?")
ANGLES = ("What is {topic}?", "How does {topic} work?", "How do I use {topic}?", "What problems does {topic} have?")


@dataclass(frozen=True, slots=True)
class Hit:
    """An article that was found for a query; `confidence` is the probability that it answers it."""

    article_id: str
    version: int
    question: str
    answer: str
    score: float
    confidence: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lookup:
    """The articles for each query, in the order of the queries."""

    hits: tuple[tuple[Hit, ...], ...]
    as_of: datetime


class Knowledge(Protocol):
    """Where the organization's articles are."""

    async def look_up(self, organization_id: str, queries: Sequence[str], limit: int) -> Lookup:
        """The best articles for each query."""
        ...


@dataclass(frozen=True, slots=True)
class SubQuestion:
    """One thing to find out; `topic` is what it is about."""

    topic: str
    text: str


@dataclass(slots=True)
class _Citation:
    """An article that is cited under a number, with the sub-questions it serves."""

    number: int
    hit: Hit
    serves: list[str] = field(default_factory=list)


def topics_of(description: str) -> list[str]:
    """What a description is about, at most five things: without the order it is wrapped in."""
    flat = " ".join(description.split())
    without = FRAMES.sub("", ORDERS.sub("", flat)).strip(" .?!")
    parts = [FRAMES.sub("", part).strip(" .?!\"'") for part in SPLIT.split(without)]
    found = [part for part in dict.fromkeys(parts) if len(part) > 1]
    return found[:MAX_TOPICS] or [without[:200] or flat[:200]]


def sub_questions(description: str) -> list[SubQuestion]:
    """The questions to look up: the description's own ones as they are, and four angles on each topic."""
    own = [" ".join(question.split()) for question in QUESTION.findall(description)]
    if own:
        return [SubQuestion(question.strip(" ?"), question.strip()) for question in dict.fromkeys(own)][
            : MAX_TOPICS * 2
        ]
    return [SubQuestion(topic, angle.format(topic=topic)) for topic in topics_of(description) for angle in ANGLES]


def research_report(description: str, questions: Sequence[SubQuestion], lookup: Lookup) -> Report:
    """What the articles say, each cited once, and what they do not say."""
    topics = list(dict.fromkeys(question.topic for question in questions))
    cited = _cited(questions, lookup)
    gaps = _gaps(questions, lookup)
    suggested = [{"question": gap.text, "topic": gap.topic} for gap in gaps]
    sections = (
        Section("What was looked at", text=_looked_at(description, topics, questions, lookup)),
        Section("Findings", tuple(_finding(citation) for citation in cited), "" if cited else _nothing()),
        Section("Gaps", text=_listed(gap.text for gap in gaps) or "Every sub-question has an article."),
        Section("Suggested new articles", text=_suggested(gaps)),
        Section("Citations", text=_listed(_source(citation) for citation in cited) or "None."),
    )
    covered = len(questions) - len(gaps)
    summary = (
        f"{len(cited)} article{'s' if len(cited) != 1 else ''} of the knowledge base bear on {_joined(topics)}; "
        f"{covered} of {len(questions)} sub-questions are covered, {len(gaps)} are open."
    )
    extra = {
        "topics": topics,
        "sub_questions": [question.text for question in questions],
        "citations": [_as_json(citation) for citation in cited],
        "gaps": [gap.text for gap in gaps],
        "suggested_articles": suggested,
        "as_of": lookup.as_of.isoformat(),
    }
    return Report(f"Research: {_joined(topics)}", summary, sections, extra)


def _cited(questions: Sequence[SubQuestion], lookup: Lookup) -> list[_Citation]:
    """Every article that is worth a look, once, the surest first."""
    best: dict[str, _Citation] = {}
    for question, hits in zip(questions, lookup.hits, strict=False):
        for hit in hits:
            if hit.confidence < RELATED:
                continue
            known = best.setdefault(hit.article_id, _Citation(0, hit))
            known.serves.append(question.text)
            if hit.confidence > known.hit.confidence:
                known.hit = hit
    ordered = sorted(best.values(), key=lambda citation: (-citation.hit.confidence, citation.hit.article_id))
    for number, citation in enumerate(ordered, 1):
        citation.number = number
    return ordered


def _gaps(questions: Sequence[SubQuestion], lookup: Lookup) -> list[SubQuestion]:
    """The sub-questions that no article answers with some certainty."""
    padded = [*lookup.hits, *[()] * len(questions)]
    return [
        question
        for question, hits in zip(questions, padded, strict=False)
        if not any(hit.confidence >= FOUND for hit in hits)
    ]


def _finding(citation: _Citation) -> Finding:
    hit = citation.hit
    certainty = "answers" if hit.confidence >= FOUND else "may bear on"
    served = "; ".join(citation.serves)
    return Finding(
        title=f"[{citation.number}] {hit.question}",
        value=round(hit.confidence, 3),
        query=f"retrieve: {served}",
        detail=f"{hit.answer} (confidence {hit.confidence:.2f}, {certainty}: {served})",
    )


def _looked_at(description: str, topics: Sequence[str], questions: Sequence[SubQuestion], lookup: Lookup) -> str:
    looked_at = sum(len(hits) for hits in lookup.hits)
    source = (
        f"- Source: the organization's published knowledge base as of {lookup.as_of:%Y-%m-%d %H:%M} UTC; "
        f"{looked_at} articles looked at for {len(questions)} sub-questions"
    )
    lines = [
        f'- Asked for: "{escape(description)[:300]}"',
        f"- Topics: {_joined([escape(topic) for topic in topics])}",
        source,
        "- Sub-questions:",
        *(f"  {number}. {escape(question.text)}" for number, question in enumerate(questions, 1)),
    ]
    return "\n".join(lines)


def _nothing() -> str:
    return (
        "The knowledge base has no article on this. Nothing is made up here: publish articles on the sub-questions "
        "below (`POST /knowledge/articles`, then `POST /knowledge/publish`) and research again."
    )


def _suggested(gaps: Sequence[SubQuestion]) -> str:
    if not gaps:
        return "None: every sub-question has an article."
    return "Articles with these questions would close the gaps:\n\n" + _listed(gap.text for gap in gaps)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _source(citation: _Citation) -> str:
    hit = citation.hit
    return f"[{citation.number}] article {hit.article_id}, version {hit.version}: {hit.question}"


def _as_json(citation: _Citation) -> dict[str, object]:
    hit = citation.hit
    return {
        "number": citation.number,
        "article_id": hit.article_id,
        "version": hit.version,
        "question": hit.question,
        "confidence": round(hit.confidence, 3),
        "serves": citation.serves,
    }


def _joined(topics: Sequence[str]) -> str:
    if len(topics) < 2:  # noqa: PLR2004 - one needs no joining
        return "".join(topics)
    return ", ".join(topics[:-1]) + " and " + topics[-1]
