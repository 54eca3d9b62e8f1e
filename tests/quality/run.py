"""`make quality`: how well the ranker answers a question set, against the ranker in this process.

    .venv/bin/python tests/quality/run.py [--articles FILE.jsonl] [--questions FILE.jsonl] [--show]

Articles are JSON lines of the article object; questions are JSON lines {"question", "expected": external_id | null}.
Exits 1 when a floor is missed (only for the set in this folder).
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_service.domain.articles import ArticleText, PublishedArticle
from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.decisions import RANKED, Decision, decide
from knowledge_service.domain.starter import starter_articles

FOLDER = Path(__file__).parent
FLOORS = {"P@1": 0.88, "recall@5": 0.96, "precision of answers": 0.90, "no-answer recall": 0.85}
"""What the set in this folder must reach; the measured values are a few points higher."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the article it should find (None: nothing), and what came out."""

    question: str
    expected: str | None
    answer: Decision

    @property
    def found(self) -> list[str | None]:
        """The external ids of the candidates, best first."""
        return [hit.article.text.external_id for hit in self.answer.candidates]

    @property
    def answered(self) -> bool:
        """Whether it was answered at all."""
        return self.answer.answer is not None

    @property
    def right(self) -> bool:
        """Whether the best candidate is the expected one."""
        return self.expected is not None and self.found[:1] == [self.expected]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def articles_of(path: Path | None) -> list[PublishedArticle]:
    """The articles of a file, else the starter articles."""
    if path is None:
        return starter_articles()
    return [
        PublishedArticle(
            article_id=str(number),
            version=1,
            text=ArticleText(
                question=row["question"],
                answer=row["answer"],
                alternatives=tuple(row.get("alternatives", ())),
                tags=tuple(row.get("tags", ())),
                language=row.get("language", "en"),
                external_id=row.get("external_id"),
            ),
        )
        for number, row in enumerate(lines_of(path))
    ]


def share(count: int, of: int) -> float:
    """A share that is 1 of nothing."""
    return count / of if of else 1.0


def figures_of(cases: list[Case]) -> dict[str, float]:
    """The figures of a set; the no-answer figures count clarify as not answered."""
    answerable = [case for case in cases if case.expected is not None]
    unanswerable = [case for case in cases if case.expected is None]
    answered = [case for case in cases if case.answered]
    declined = [case for case in cases if not case.answered]
    return {
        "P@1": share(sum(case.right for case in answerable), len(answerable)),
        "recall@5": share(sum(case.expected in case.found[:5] for case in answerable), len(answerable)),
        "answered of answerable": share(sum(case.answered for case in answerable), len(answerable)),
        "precision of answers": share(sum(case.right for case in answered), len(answered)),
        "no-answer precision": share(sum(case.expected is None for case in declined), len(declined)),
        "no-answer recall": share(sum(not case.answered for case in unanswerable), len(unanswerable)),
    }


def main() -> int:
    """Measure, print, compare with the floors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=Path)
    parser.add_argument("--questions", type=Path, default=FOLDER / "questions.jsonl")
    parser.add_argument("--show", action="store_true", help="print the questions that went wrong")
    options = parser.parse_args()
    began = time.perf_counter()
    ranker = Bm25Ranker(articles_of(options.articles))
    built = time.perf_counter()
    cases = [
        Case(row["question"], row["expected"], decide(ranker, ranker.rank(row["question"], RANKED), RANKED))
        for row in lines_of(options.questions)
    ]
    ended = time.perf_counter()
    figures = figures_of(cases)
    print(f"{len(ranker.articles)} articles, {len(cases)} questions, scorer {ranker.scorer}")
    print(f"index built in {(built - began) * 1000:.0f} ms, {(ended - built) / len(cases) * 1000:.2f} ms a question")
    own = options.articles is None and options.questions == FOLDER / "questions.jsonl"
    for name, value in figures.items():
        print(f"{name:24} {value * 100:5.1f} %" + (f"   floor {FLOORS[name] * 100:.0f} %" if name in FLOORS else ""))
    for case in cases if options.show else ():
        if case.answered and not case.right:
            print(f"  wrong: {case.question!r} -> {case.found[0]} ({case.answer.confidence}), not {case.expected}")
    return 1 if own and any(figures[name] < floor for name, floor in FLOORS.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
