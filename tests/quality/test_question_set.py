"""The question set measures the starter knowledge base fairly: known ids, enough unanswerable ones, nothing copied."""

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
STARTER = FOLDER.parents[1] / "knowledge-service/src/knowledge_service/starter/articles.jsonl"


def objects_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.casefold()).strip()


QUESTIONS = objects_in(FOLDER / "questions.jsonl")
ARTICLES = objects_in(STARTER)


def test_there_are_enough_questions_with_and_without_an_answer() -> None:
    unanswerable = [question for question in QUESTIONS if question["expected"] is None]

    assert len(QUESTIONS) >= 150
    assert len(unanswerable) >= 45


def test_every_expected_article_exists_and_every_article_is_expected_once() -> None:
    expected = {question["expected"] for question in QUESTIONS} - {None}

    assert expected == {article["external_id"] for article in ARTICLES}


def test_no_question_is_asked_twice() -> None:
    asked = [plain(question["question"]) for question in QUESTIONS]

    assert len(set(asked)) == len(asked)


def test_no_question_is_a_wording_of_an_article() -> None:
    wordings = {plain(wording) for article in ARTICLES for wording in (article["question"], *article["alternatives"])}

    assert [question["question"] for question in QUESTIONS if plain(question["question"]) in wordings] == []
