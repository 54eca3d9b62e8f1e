"""Kinds of text and of query parameters that several services take: enforced and documented by the same rule.

What is wrong is said without repeating it.
"""

import re
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from shared.cursors import MAX_LENGTH

SEEN = r"[^\s\x00-\x1f\x7f-\x9f\ufeff]"
"""A character that shows. Controls are named, since Python and ECMA-262 differ in which of them are white space."""
READABLE = rf"^[^\x00]*{SEEN}[^\x00]*$"

_seen = re.compile(SEEN)


def _readable(text: str) -> str:
    """Refuse what no database and no screen can hold, and text that says nothing."""
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "must not contain the character NUL")
    if not _seen.search(text):
        raise PydanticCustomError("blank", "must not be blank")
    return text


Readable = Annotated[str, AfterValidator(_readable), Field(json_schema_extra={"pattern": READABLE})]
"""Text with something to read in it and no NUL; lengths are added where it is used."""

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MAX_LENGTH,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="`next_cursor` of the page before.",
        json_schema_extra={"format": "cursor"},
    ),
]
"""A place in a list. Only those that the list gave are good: see `shared.cursors`."""
