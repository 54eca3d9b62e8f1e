"""The keys with which access tokens are verified."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from auth_service.domain.keys import KeyRing
from shared.bodies import StrictRoute
from shared.parts import Part
from shared.problems import responses

router = APIRouter(tags=["accounts"], route_class=StrictRoute)

FRESH = "public, max-age=60"
"""Shorter than a new key is published before it signs."""


class KeySet(BaseModel):
    """A JSON Web Key set (RFC 7517)."""

    keys: list[dict[str, Any]]


@router.get("/.well-known/jwks.json", responses=responses(503))
async def get_keys(keys: Part[KeyRing], response: Response) -> KeySet:
    """The public keys, from memory: served while PostgreSQL is away."""
    response.headers["Cache-Control"] = FRESH
    return KeySet.model_validate(keys.jwks())
