"""What the routes read of a request beside its body."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request

from shared.errors import NotFound
from shared.idempotency import key_of
from shared.ids import parse_id

ClientAddress = Annotated[str, Header(alias="X-Client-Address", include_in_schema=False)]
"""The address that the gateway saw; only the gateway sets it."""


async def _idempotency_key(request: Request) -> str | None:
    return key_of(request.scope["headers"])


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
"""Chosen by the client: a request repeated with it within 24 hours is answered with the first reply."""


def known_id(text: str) -> UUID:
    """An id as text; one that cannot be ours is as absent as an unknown one."""
    parsed = parse_id(text)
    if parsed is None:
        raise NotFound
    return parsed
