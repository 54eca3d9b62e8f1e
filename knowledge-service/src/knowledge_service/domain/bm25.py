"""The first ranker: BM25 over answers, weighted overlap with the best wording, no model and no numpy.

Terms are stems weighted by how rare they are among the articles. A wording scores by the overlap of its terms with the
question's, both ways; the best wording of an article counts, so that many alternatives never dilute one another.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knowledge_service.domain.articles import PublishedArticle
from knowledge_service.domain.ranking import Accepts, Hit
from knowledge_service.domain.text import QUESTION_TERMS, STOP_TERMS, edits, has_digit, stem, terms, unique, words

SCORER = "bm25-1"

K1 = 1.2
B = 0.75
QUESTION_WORD = 0.12
STOP_WORD = 0.05
UNKNOWN_CODE = 0.4
"""Weight of a term with a digit that no article has: mostly an order number or noise."""
REPAIRED = 0.85
"""Weight of a word that was taken for a misspelling of another."""
REPAIRABLE = 5
"""Shorter words are left as they are: their neighbours are other words."""
OTHER_NUMBER = 0.5
"""Factor for a wording that names other numbers than the question."""

WORDING, ANSWER, COVERED, COVERED_BY_WORDINGS = 0.6, 0.15, 0.15, 0.3
"""How much each part of the score weighs."""


@dataclass(frozen=True, slots=True)
class _Question:
    weights: dict[str, float]
    numbers: frozenset[str]
    mass: float
    square_mass: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    article: int
    score: float
    wording: float
    covered: float


class Bm25Ranker:
    """A `Ranker` that needs nothing but the text; about 1 ms a question over 1,000 articles."""

    scorer = SCORER

    def __init__(self, articles: Sequence[PublishedArticle]) -> None:
        self.articles = tuple(articles)
        self._surface: Counter[str] = Counter()
        self._wording_frequency: Counter[str] = Counter()
        self._frequency: Counter[str] = Counter()
        self._owner = array("I")
        self._numbers: list[frozenset[str] | None] = []
        self._wording_postings: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        self._answer_postings: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        self._tag_postings: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        self._answer_lengths = array("I")
        kept = [self._add(number, article) for number, article in enumerate(self.articles)]
        self._average_length = sum(self._answer_lengths) / len(kept) if kept else 1.0
        self._weights = {term: self._weight(term) for term in self._frequency}
        wordings = [wording for own in kept for wording in own]
        self._masses = array("d", (sum(self._weights[term] for term in sorted(w)) for w in wordings))
        self._norms = array("d", (math.sqrt(sum(self._weights[t] ** 2 for t in sorted(w))) for w in wordings))

    def _add(self, number: int, article: PublishedArticle) -> list[frozenset[str]]:
        """Index one article; the term sets of its wordings."""
        wordings = [frozenset(terms(wording)) for wording in article.text.wordings]
        for wording in wordings:
            for term in wording:
                self._wording_postings[term].append(len(self._owner))
            self._owner.append(number)
            numbers = frozenset(term for term in wording if has_digit(term))
            self._numbers.append(numbers or None)
        asked = frozenset().union(*wordings)
        answer = Counter(terms(article.text.answer))
        for term, times in answer.items():
            self._answer_postings[term].extend((number, times))
        self._answer_lengths.append(answer.total())
        tags = {term for tag in article.text.tags for term in terms(tag)}
        for term in tags:
            self._tag_postings[term].append(number)
        self._wording_frequency.update(asked)
        self._frequency.update(asked | answer.keys() | tags)
        self._surface.update({w for text in (*article.text.wordings, article.text.answer) for w in words(text)})
        return wordings

    def _weight(self, term: str) -> float:
        """Inverse document frequency, halfway between wordings and whole articles; little for stop words."""
        among = (self._wording_frequency[term] + self._frequency[term]) / 2
        rarity = math.log(1 + (len(self.articles) - among + 0.5) / (among + 0.5))
        if term in QUESTION_TERMS:
            return rarity * QUESTION_WORD
        if term in STOP_TERMS:
            return rarity * STOP_WORD
        if has_digit(term) and term not in self._frequency:
            return rarity * UNKNOWN_CODE
        return rarity

    def _repaired(self, word: str) -> tuple[str, float]:
        """The term of a word, taken for the commonest word one slip away when no article knows it."""
        term = stem(word)
        if term in self._frequency or len(word) < REPAIRABLE or not word.isalpha():
            return term, 1.0
        known = ((self._surface[edit], edit) for edit in edits(word) if edit in self._surface and len(edit) >= 4)  # noqa: PLR2004 - as REPAIRABLE
        best = max(known, default=None)
        return (term, 1.0) if best is None else (stem(best[1]), REPAIRED)

    def _question(self, question: str) -> _Question:
        weights: dict[str, float] = {}
        for word in unique(words(question)):
            term, factor = self._repaired(word)
            weight = self._weights.get(term)
            weight = factor * (self._weight(term) if weight is None else weight)
            weights[term] = max(weight, weights.get(term, 0.0))
        ordered = dict(sorted(weights.items()))
        return _Question(
            weights=ordered,
            numbers=frozenset(term for term in ordered if has_digit(term)),
            mass=sum(ordered.values()) or 1e-9,
            square_mass=sum(weight**2 for weight in ordered.values()) or 1e-9,
        )

    def rank(self, question: str, limit: int, accepts: Accepts | None = None) -> list[Hit]:
        """Up to `limit` articles, best first."""
        asked = self._question(question)
        wordings = self._best_wordings(asked)
        answers = self._answer_scores(asked)
        covered, covered_by_wordings = self._coverage(asked)
        candidates = [
            _Candidate(
                article=number,
                score=round(
                    WORDING * wordings.get(number, 0.0)
                    + ANSWER * answers.get(number, 0.0)
                    + COVERED * covered[number]
                    + COVERED_BY_WORDINGS * covered_by_wordings.get(number, 0.0),
                    9,
                ),
                wording=wordings.get(number, 0.0),
                covered=covered[number],
            )
            for number in covered
            if accepts is None or accepts(self.articles[number])
        ]
        candidates.sort(key=lambda candidate: (-candidate.score, candidate.article))
        return [
            Hit(self.articles[each.article], each.score, _confidence(each, candidates)) for each in candidates[:limit]
        ]

    def _best_wordings(self, asked: _Question) -> dict[int, float]:
        """For each article the overlap of the question with its best wording, 0 to 1."""
        dots: defaultdict[int, float] = defaultdict(float)
        shared: defaultdict[int, float] = defaultdict(float)
        for term, weight in asked.weights.items():
            postings = self._wording_postings.get(term)
            if postings is None:
                continue
            product = weight * self._weights[term]
            for wording in postings:
                dots[wording] += product
                shared[wording] += weight
        norm = math.sqrt(asked.square_mass)
        best: dict[int, float] = {}
        for wording, dot in dots.items():
            cosine = dot / (norm * (self._norms[wording] or 1e-9))
            both = shared[wording]
            harmonic = 2 * both / (asked.mass + (self._masses[wording] or 1e-9))
            overlap = (cosine + harmonic) / 2
            numbers = self._numbers[wording]
            if numbers and asked.numbers and not numbers & asked.numbers:
                overlap *= OTHER_NUMBER
            owner = self._owner[wording]
            if overlap > best.get(owner, 0.0):
                best[owner] = overlap
        return best

    def _answer_scores(self, asked: _Question) -> dict[int, float]:
        """BM25 of the answers as a share of what it could be."""
        scores: defaultdict[int, float] = defaultdict(float)
        most = asked.mass * (K1 + 1)
        for term, weight in asked.weights.items():
            for number, times in _pairs(self._answer_postings.get(term, array("I"))):
                length = self._answer_lengths[number] / self._average_length
                scores[number] += weight * times * (K1 + 1) / (times + K1 * (1 - B + B * length)) / most
        return scores

    def _coverage(self, asked: _Question) -> tuple[dict[int, float], dict[int, float]]:
        """The share of the question's squared rarity found anywhere in an article, and in its wordings."""
        anywhere: defaultdict[int, float] = defaultdict(float)
        in_wordings: defaultdict[int, float] = defaultdict(float)
        for term, weight in asked.weights.items():
            share = weight**2 / asked.square_mass
            owners = {self._owner[wording] for wording in self._wording_postings.get(term, ())}
            for number in sorted(owners):
                in_wordings[number] += share
            owners.update(number for number, _ in _pairs(self._answer_postings.get(term, array("I"))))
            owners.update(self._tag_postings.get(term, ()))
            for number in sorted(owners):
                anywhere[number] += share
        return anywhere, in_wordings


def _pairs(flat: "array[int]") -> Iterable[tuple[int, int]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _confidence(candidate: _Candidate, candidates: Sequence[_Candidate]) -> float:
    """The probability that a candidate is right, from its score and its lead over the best other one."""
    other = next((each.score for each in candidates if each is not candidate), 0.0)
    z = -6.0 + 9.0 * candidate.score + 4.0 * (candidate.score - other)
    return round(1 / (1 + math.exp(-z)), 4)
