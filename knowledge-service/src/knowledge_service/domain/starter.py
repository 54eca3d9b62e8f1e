"""The starter knowledge base that ships with the service."""

from importlib.resources import files
from uuid import NAMESPACE_URL, uuid5

import orjson

from knowledge_service.domain.articles import ArticleText, PublishedArticle


def starter_articles() -> list[PublishedArticle]:
    """The articles of the packaged file; their ids follow from their external ids, so every replica agrees."""
    lines = (files("knowledge_service") / "starter" / "articles.jsonl").read_bytes().splitlines()
    return [_article(orjson.loads(line)) for line in lines if line.strip()]


def _article(row: dict[str, object]) -> PublishedArticle:
    external_id = str(row["external_id"])
    alternatives, tags = row["alternatives"], row["tags"]
    assert isinstance(alternatives, list)  # noqa: S101 - the packaged file is checked by a test
    assert isinstance(tags, list)  # noqa: S101 - the packaged file is checked by a test
    return PublishedArticle(
        article_id=str(uuid5(NAMESPACE_URL, f"urn:multidb:starter:{external_id}")),
        version=1,
        text=ArticleText(
            question=str(row["question"]),
            answer=str(row["answer"]),
            alternatives=tuple(alternatives),
            tags=tuple(tags),
            language=str(row["language"]),
            external_id=external_id,
        ),
    )
