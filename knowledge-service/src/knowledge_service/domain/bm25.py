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
from knowledge_service.domain.text import STOP_TERMS, edits, has_digit, stem, terms, unique, words

SCORER = "bm25-1"

K1 = 1.2
B = 0.75
STOP_WORD = 0.12
UNKNOWN_CODE = 0.4
"""Weight of a term with a digit that no article has: mostly an order number or noise."""
REPAIRED = 0.85
"""Weight of a word that was taken for a misspelling of another."""
REPAIRABLE = 5
"""Shorter words are left as they are: their neighbours are other words."""
OTHER_NUMBER = 0.5
"""Factor for a wording that names other numbers than the question."""

NEIGHBOURS = 3
SHARE_OF_NEIGHBOURS = 0.4
"""Several wordings of an article that are close count beside its best one: +2 to +4 points of P@1 (see below)."""
WORDING, ANSWER, COVERED, COVERED_BY_WORDINGS = 0.6, 0.15, 0.15, 0.3
"""How much each part of the score weighs; every other setting tried was worse on average over five question sets."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns what is known of a candidate into the probability that it is right: a logistic regression."""

    bias: float
    lead: float
    complete: float
    shared: float
    covered: float
    answer: float


CALIBRATION = Calibration(bias=-5.3, lead=3.989, complete=3.37, shared=1.998, covered=1.272, answer=3.486)
"""Fitted on public question sets (StackFAQ, CLINC150, Banking77, HINT3, each also with articles taken away) and on
`tests/quality/questions.jsonl`; left-out sets are told right from wrong with an AUROC of 0.81 to 0.96."""


@dataclass(frozen=True, slots=True)
class _Question:
    weights: dict[str, float]
    numbers: frozenset[str]
    mass: float
    square_mass: float

    @property
    def norm(self) -> float:
        """The length of the weights as a vector."""
        return math.sqrt(self.square_mass)


@dataclass(frozen=True, slots=True)
class _Wording:
    """How well the wordings of an article fit a question.

    `overlap` is that of the closest few, 0 to 1; `complete` is the share of the closest one that the question has;
    `shared` is how much they have in common, 1 for a word that no other article has.
    """

    overlap: float
    complete: float
    shared: float


NO_WORDING = _Wording(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Candidate:
    article: int
    score: float
    wording: _Wording
    covered: float
    answer: float


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
        self._rarest = math.log(1 + (len(kept) + 0.5) / 0.5) if kept else 1.0
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
        candidates = self._candidates(question, accepts)
        hits: list[Hit] = []
        at_most = 1.0
        for each in candidates[:limit]:
            at_most = min(at_most, confidence(each, candidates))
            hits.append(Hit(self.articles[each.article], each.score, at_most))
        return hits

    def _candidates(self, question: str, accepts: Accepts | None = None) -> list[_Candidate]:
        asked = self._question(question)
        wordings = self._best_wordings(asked)
        answers = self._answer_scores(asked)
        covered, covered_by_wordings = self._coverage(asked)
        candidates: list[_Candidate] = []
        for number, share in covered.items():
            if accepts is not None and not accepts(self.articles[number]):
                continue
            wording = wordings.get(number, NO_WORDING)
            answer = answers.get(number, 0.0)
            score = (
                WORDING * wording.overlap
                + ANSWER * answer
                + COVERED * share
                + COVERED_BY_WORDINGS * covered_by_wordings.get(number, 0.0)
            )
            candidates.append(_Candidate(number, round(score, 9), wording, share, answer))
        candidates.sort(key=lambda candidate: (-candidate.score, candidate.article))
        return candidates

    def _best_wordings(self, asked: _Question) -> dict[int, _Wording]:
        """For each article that shares a term, how well its wordings fit."""
        dots: defaultdict[int, float] = defaultdict(float)
        shared: defaultdict[int, float] = defaultdict(float)
        for term, weight in asked.weights.items():
            product = weight * self._weights.get(term, 0.0)
            for wording in self._wording_postings.get(term, ()):
                dots[wording] += product
                shared[wording] += weight
        overlaps: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        for wording, dot in dots.items():
            overlap = self._overlap(asked, wording, dot, shared[wording])
            overlaps[self._owner[wording]].append((overlap, wording))
        return {number: self._fit(number, found, shared) for number, found in overlaps.items()}

    def _overlap(self, asked: _Question, wording: int, dot: float, shared: float) -> float:
        """Halfway between the cosine and the harmonic mean of both shares; less when the numbers disagree."""
        cosine = dot / (asked.norm * (self._norms[wording] or 1e-9))
        harmonic = 2 * shared / (asked.mass + (self._masses[wording] or 1e-9))
        numbers = self._numbers[wording]
        agree = not numbers or not asked.numbers or bool(numbers & asked.numbers)
        return (cosine + harmonic) / 2 * (1.0 if agree else OTHER_NUMBER)

    def _fit(self, number: int, found: list[tuple[float, int]], shared: dict[int, float]) -> _Wording:
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        best, wording = found[0]
        neighbours = min(NEIGHBOURS, len(self.articles[number].text.wordings))
        close = sum(overlap for overlap, _ in found[:NEIGHBOURS]) / neighbours
        return _Wording(
            overlap=(1 - SHARE_OF_NEIGHBOURS) * best + SHARE_OF_NEIGHBOURS * close,
            complete=shared[wording] / (self._masses[wording] or 1e-9),
            shared=min(1.5, shared[wording] / self._rarest),
        )

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


def confidence(candidate: _Candidate, candidates: Sequence[_Candidate], by: Calibration = CALIBRATION) -> float:
    """The probability that a candidate is right; its lead over the best other one is part of it."""
    other = next((each.score for each in candidates if each is not candidate), 0.0)
    z = (
        by.bias
        + by.lead * (candidate.score - other)
        + by.complete * candidate.wording.complete
        + by.shared * candidate.wording.shared
        + by.covered * candidate.covered
        + by.answer * candidate.answer
    )
    return round(1 / (1 + math.exp(-z)), 4)
