"""The starter articles keep the limits every other article has to keep, and no two compete for one question."""

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

ALLOWED = {"external_id", "question", "alternatives", "answer", "tags", "language"}


def starter_articles() -> list[dict[str, Any]]:
    lines = (files("knowledge_service") / "starter" / "articles.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


ARTICLES = starter_articles()
each_article = pytest.mark.parametrize("article", ARTICLES, ids=[article["external_id"] for article in ARTICLES])


def wordings(article: dict[str, Any]) -> list[str]:
    return [article["question"], *article["alternatives"]]


def test_there_are_at_least_eighty_articles() -> None:
    assert len(ARTICLES) >= 80


def test_every_external_id_is_unique() -> None:
    counted = Counter(article["external_id"] for article in ARTICLES)

    assert [external_id for external_id, times in counted.items() if times > 1] == []


def test_no_wording_is_used_twice() -> None:
    counted = Counter(wording.casefold().strip() for article in ARTICLES for wording in wordings(article))

    assert [wording for wording, times in counted.items() if times > 1] == []


@each_article
def test_an_article_has_the_fields_of_an_import_and_no_other(article: dict[str, Any]) -> None:
    assert set(article) == ALLOWED
    assert article["language"] == "en"


@each_article
def test_an_article_stays_within_the_public_limits(article: dict[str, Any]) -> None:
    assert all(1 <= len(wording.strip()) <= 1_000 for wording in wordings(article))
    assert len(article["alternatives"]) <= 300
    assert 1 <= len(article["answer"]) <= 20_000
    assert len(article["tags"]) <= 50
    assert all(1 <= len(tag) <= 64 for tag in article["tags"])


@each_article
def test_an_article_can_be_asked_in_at_least_three_other_ways(article: dict[str, Any]) -> None:
    assert len(article["alternatives"]) >= 3


@each_article
def test_every_code_block_of_an_answer_is_closed(article: dict[str, Any]) -> None:
    assert article["answer"].count("```") % 2 == 0
