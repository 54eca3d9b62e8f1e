"""Texts and cursors from outside: what the document says is what is enforced."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.cursors import Cursors
from shared.fields import READABLE, Cursor, Limit, Readable

text = TypeAdapter(Readable)


def is_taken(value: str) -> bool:
    try:
        return text.validate_python(value) == value
    except ValidationError:
        return False


@pytest.mark.parametrize(
    "value", ["x", " x ", "\nx", "C++", "...", "密码", "پاسخ", "नमस्ते", "👍", "a\x01b", "x\x85", "\u200dx"]
)
def test_text_with_something_to_read_is_taken_as_it_is(value: str) -> None:
    assert is_taken(value)


@pytest.mark.parametrize(
    "value", ["", " ", "\t\r\n", "\x00", "a\x00", "\x00a", "\u3000", "\xa0", "\x1c", "\x85", "\ufeff"]
)
def test_nothing_to_read_and_nul_are_refused(value: str) -> None:
    assert not is_taken(value)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
@example("\x1f")
@example("a\n")
def test_the_documented_pattern_is_the_enforced_rule(value: str) -> None:
    assert is_taken(value) == bool(re.search(READABLE, value))


def test_a_refusal_never_repeats_the_text() -> None:
    with pytest.raises(ValidationError) as refused:
        text.validate_python("secret\x00")

    assert "secret" not in str([error["msg"] for error in refused.value.errors()])


def test_list_parameters_are_checked_before_the_list_is_looked_at() -> None:
    app = FastAPI()

    @app.get("/list")
    def a_list(limit: Limit = 20, cursor: Cursor = None) -> dict[str, int | str | None]:
        return {"limit": limit, "cursor": cursor}

    good = Cursors(b"k" * 32).make("list:me", "a position")
    client = TestClient(app)

    assert client.get("/list", params={"cursor": good, "limit": 100}).json() == {"limit": 100, "cursor": good}
    for wrong in ({"limit": 0}, {"limit": 101}, {"cursor": ""}, {"cursor": "a b"}, {"cursor": "x" * 2_049}):
        assert client.get("/list", params=wrong).status_code == 422
