"""The OpenAPI document promises what is enforced: values that its schemas refuse are refused, and the others taken."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from knowledge_service.routes.bodies import ArticleIn, AskIn, ExternalId, Query, Tag, Wording
from knowledge_service.routes.imports import BODY, ArticlesIn

TEXTS = {"wording": Wording, "tag": Tag, "external id": ExternalId, "query": Query}


def taken(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", TEXTS.values(), ids=TEXTS)
def test_lengths_are_those_of_the_schema(kind: Any) -> None:
    longest = TypeAdapter(kind).json_schema()["maxLength"]

    assert taken(kind, "a" * longest)
    assert not taken(kind, "a" * (longest + 1))


@pytest.mark.parametrize("field", ["question", "answer", "alternatives", "tags", "language", "external_id"])
def test_every_field_of_an_article_has_its_bounds_in_the_document(field: str) -> None:
    schema = ArticleIn.model_json_schema()["properties"][field]
    shown = str(schema)

    assert "maxLength" in shown
    assert "pattern" in shown
    assert field not in {"alternatives", "tags"} or "maxItems" in shown


@pytest.mark.parametrize("limit", ["5", 5.0, True, 0, 21])
def test_a_number_that_is_none_of_the_schemas_is_refused(limit: object) -> None:
    assert not taken(AskIn, {"question": "Q?", "limit": limit})


def test_rows_that_an_import_reports_are_allowed_by_its_schema() -> None:
    schema = BODY["requestBody"]["content"]["application/json"]["schema"]
    items = schema["properties"]["articles"]

    assert taken(ArticlesIn, {"articles": [1, None, {"odd": True}]})
    assert {} in [
        {key: value for key, value in each.items() if key != "description"} for each in items["items"]["anyOf"]
    ]
    assert (items["minItems"], items["maxItems"]) == (1, 100_000)
    assert not taken(ArticlesIn, {"articles": []})
    assert schema["additionalProperties"] is False
    assert not taken(ArticlesIn, {"articles": [1], "other": 1})
