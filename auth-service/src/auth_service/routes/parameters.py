"""What the routes read of a request beside its body."""

from typing import Annotated
from uuid import UUID

from fastapi import Header

from shared.errors import NotFound
from shared.ids import parse_id

ClientAddress = Annotated[str, Header(alias="X-Client-Address", include_in_schema=False)]
"""The address that the gateway saw; only the gateway sets it."""


IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
"""Chosen by the client: a request repeated with it within 24 hours is answered with the first reply."""


def known_id(text: str) -> UUID:
    """An id as text; one that cannot be ours is as absent as an unknown one."""
    parsed = parse_id(text)
    if parsed is None:
        raise NotFound
    return parsed
