"""Text that comes from outside."""

import pytest
from pydantic import TypeAdapter, ValidationError

from auth_service.routes.fields import Email, Name, NewPassword

EMAIL, NAME, PASSWORD = TypeAdapter(Email), TypeAdapter(Name), TypeAdapter(NewPassword)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        (" ada@example.com ", "ada@example.com"),
        ("ADA@müller.example", "ada@müller.example"),
    ],
)
def test_an_address_has_one_spelling(given: str, kept: str) -> None:
    assert EMAIL.validate_python(given) == kept


@pytest.mark.parametrize(
    "given", ["x", "a@", "@example.com", "a b@example.com", "ada@gmail", "a\x00@example.com", "a" * 250 + "@b.example"]
)
def test_what_is_no_address_is_refused_without_repeating_it(given: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        EMAIL.validate_python(given)

    assert given not in refusal.value.errors()[0]["msg"]


@pytest.mark.parametrize("given", ["short", "x" * 257, "with a \x00 in it"])
def test_a_password_has_8_to_256_characters_and_no_nul(given: str) -> None:
    with pytest.raises(ValidationError):
        PASSWORD.validate_python(given)


@pytest.mark.parametrize("given", ["", "   ", "two\nlines", "bell\x07"])
def test_a_name_is_printable(given: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(given)
