"""Kinds of text that come from outside. What is wrong is said without repeating it."""

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

LONGEST_EMAIL = 254


NO_NUL = r"^[^\x00]*$"
"""PostgreSQL cannot keep the character NUL, and bcrypt would stop at it."""
HIDDEN = r"\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Controls, and what is not seen or turns the direction of what follows: a name must not look like another."""
VISIBLE = rf"^[^{HIDDEN}]*[^\s{HIDDEN}][^{HIDDEN}]*$"


def _email(text: str) -> str:
    """The address in one spelling: nobody has two accounts that differ in case only. DNS is not asked."""
    try:
        valid = validate_email(text.strip(), check_deliverability=False)
    except EmailNotValidError as error:
        raise PydanticCustomError("email_address", "This is not a valid e-mail address.") from error
    return valid.normalized.lower()


Email = Annotated[
    str,
    Field(max_length=LONGEST_EMAIL),
    AfterValidator(_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": LONGEST_EMAIL}),
]
NewPassword = Annotated[
    str,
    Field(
        min_length=8,
        max_length=256,
        pattern=NO_NUL,
        description="Refused when it is common, made of your own names, or would be guessed in fewer than 10^8 tries.",
    ),
]
ShownPassword = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL)]
"""At login a short one is simply wrong."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=VISIBLE), AfterValidator(str.strip)]
RefreshToken = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL)]
