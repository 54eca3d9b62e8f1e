"""What to make of the articles found: decide how sure is sure enough, answer word for word or admit not to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from knowledge_service.domain.articles import PublishedArticle
from knowledge_service.domain.ranking import Accepts, Hit, Ranker

Outcome = Literal["answered", "clarify", "no_answer", "handoff"]

SURE = 0.55
"""Confidence from which the best candidate is the answer."""
POSSIBLE = 0.2
"""Confidence from which the candidates are worth asking "did you mean"; below, we do not know."""
KNOWN = 0.9
"""Share of the question that the best candidate's wordings speak of, from which it is one of several near-twins."""
SUGGESTED = 0.08
"""Confidence another candidate needs to be suggested beside an answer or a no-answer."""
NEAR_BEST = 0.25
"""Share of the best one's confidence another candidate needs to be offered when we ask back."""
SUGGESTIONS = 5
FOLLOW_UPS = 3
RANKED = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the filters it was asked under."""

    question: str
    limit: int = 5
    language: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of a question; `answer` is there exactly when the outcome is `answered`."""

    outcome: Outcome
    answer: Hit | None
    confidence: float
    suggestions: tuple[Hit, ...]
    follow_ups: tuple[str, ...]
    candidates: tuple[Hit, ...]


def answer(ranker: Ranker, asked: Asked) -> Decision:
    """Rank and decide; the same question to the same publication always gives the same decision."""
    hits = ranker.rank(asked.question, max(RANKED, asked.limit), _filter(ranker, asked))
    return decide(ranker, hits, asked.limit)


def decide(ranker: Ranker, hits: Sequence[Hit], limit: int) -> Decision:
    """Answer, offer what it could be, or say that we do not know."""
    best = hits[0] if hits else None
    outcome = _outcome(best)
    answer = best if outcome == "answered" else None
    confidence = 0.0 if best is None else best.confidence
    enough = confidence * NEAR_BEST if outcome == "clarify" else SUGGESTED
    suggestions = tuple([hit for hit in hits if hit is not answer and hit.confidence >= enough][:SUGGESTIONS])
    return Decision(
        outcome=outcome,
        answer=answer,
        confidence=confidence,
        suggestions=suggestions,
        follow_ups=_follow_ups(ranker, answer, suggestions) if answer is not None else (),
        candidates=tuple(hits[:limit]),
    )


def _outcome(best: Hit | None) -> Outcome:
    if best is None:
        return "no_answer"
    if best.confidence >= SURE:
        return "answered"
    return "clarify" if best.confidence >= POSSIBLE or best.covers >= KNOWN else "no_answer"


def _follow_ups(ranker: Ranker, answer: Hit, suggestions: Sequence[Hit]) -> tuple[str, ...]:
    """Questions on the same subject that a reader of this answer may have next."""
    taken = {answer.article.article_id, *(hit.article.article_id for hit in suggestions)}
    tags = set(answer.article.text.tags)
    related = [
        (-len(tags & set(article.text.tags)), position, article.text.question)
        for position, article in enumerate(ranker.articles)
        if article.article_id not in taken and tags & set(article.text.tags)
    ]
    return tuple(question for _, _, question in sorted(related)[:FOLLOW_UPS])


def _filter(ranker: Ranker, asked: Asked) -> Accepts | None:
    """Tags let through what carries any of them; a language counts only where there are articles in it."""
    wanted = frozenset(asked.tags)
    language = _language(asked.language) if asked.language else None
    if language is not None and not any(_language(a.text.language) == language for a in ranker.articles):
        language = None
    if language is None and not wanted:
        return None

    def accepts(article: PublishedArticle) -> bool:
        speaks = language is None or _language(article.text.language) == language
        return speaks and (not wanted or not wanted.isdisjoint(article.text.tags))

    return accepts


def _language(tag: str) -> str:
    return tag.casefold().partition("-")[0]
