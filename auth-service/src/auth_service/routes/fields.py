"""Kinds of text that come from outside. What is wrong is said without repeating it."""

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LONGEST_EMAIL = 254


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "This text must not contain the character NUL.")
    return text


def _printable(text: str) -> str:
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise PydanticCustomError("unprintable", "This name must be printable text.")
    return stripped


def _email(text: str) -> str:
    """The address in one spelling: nobody has two accounts that differ in case only. DNS is not asked."""
    try:
        valid = validate_email(text.strip(), check_deliverability=False)
    except EmailNotValidError as error:
        raise PydanticCustomError("email_address", "This is not a valid e-mail address.") from error
    return valid.normalized.lower()


Email = Annotated[str, Field(max_length=LONGEST_EMAIL), AfterValidator(_email)]
NewPassword = Annotated[str, Field(min_length=8, max_length=256), AfterValidator(_without_nul)]
ShownPassword = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_without_nul)]
"""At login a short one is simply wrong."""
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
RefreshToken = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_without_nul)]
