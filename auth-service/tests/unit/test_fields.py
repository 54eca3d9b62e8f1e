"""Text that comes from outside."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from auth_service.routes.fields import Email, Name, NewPassword, RefreshToken, ShownPassword

EMAIL, NAME, PASSWORD = TypeAdapter(Email), TypeAdapter(Name), TypeAdapter(NewPassword)
SHOWN, TOKEN = TypeAdapter(ShownPassword), TypeAdapter(RefreshToken)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        (" ada@example.com ", "ada@example.com"),
        ("ADA@müller.example", "ada@müller.example"),
    ],
)
def test_an_address_has_one_spelling(text: str, kept: str) -> None:
    assert EMAIL.validate_python(text) == kept


@pytest.mark.parametrize(
    "text", ["x", "a@", "@example.com", "a b@example.com", "ada@gmail", "a\x00@example.com", "a" * 250 + "@b.example"]
)
def test_what_is_no_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        EMAIL.validate_python(text)

    assert text not in refusal.value.errors()[0]["msg"]


@pytest.mark.parametrize("text", ["short", "x" * 257, "with a \x00 in it"])
def test_a_password_has_8_to_256_characters_and_no_nul(text: str) -> None:
    with pytest.raises(ValidationError):
        PASSWORD.validate_python(text)


@pytest.mark.parametrize(
    "text", ["", "   ", "two\nlines", "bell\x07", "\u200b", "Ada\u202eecalevoL", "Ada\ufeff", "\u00a0\u3000", "x" * 201]
)
def test_a_name_can_be_seen(text: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(text)


@pytest.mark.parametrize("text", [" Ada ", "Ada Lovelace", "王小明", "O'Brien-Ötztal", "a", "x" * 200, "Team 👩‍🚀"[:6]])
def test_a_name_is_kept_without_what_surrounds_it(text: str) -> None:
    assert NAME.validate_python(text) == text.strip()


@pytest.mark.parametrize("kind", [NAME, PASSWORD, SHOWN, TOKEN], ids=["name", "password", "shown password", "token"])
@given(data=st.data())
def test_what_the_document_allows_is_accepted_and_nothing_else(kind: TypeAdapter[str], data: st.DataObject) -> None:
    schema = kind.json_schema()
    pattern = schema["pattern"].replace("$", r"\Z")  # Python's `$` lets a line break follow, the document's does not
    text = data.draw(
        st.text(st.characters(codec="utf-8"), max_size=12)
        | st.text(min_size=7, max_size=257)
        | st.from_regex(pattern, fullmatch=True)
    )
    allowed = schema["minLength"] <= len(text) <= schema["maxLength"] and bool(re.search(pattern, text))

    try:
        kind.validate_python(text)
    except ValidationError:
        assert not allowed
    else:
        assert allowed
