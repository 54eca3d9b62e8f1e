"""Identifiers: UUIDv7 everywhere, so that ids sort by time of birth."""

import uuid

import uuid_utils


def new_id() -> uuid.UUID:
    """A fresh UUIDv7 (RFC 9562)."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def parse_id(text: str) -> uuid.UUID | None:
    """The UUID written as text in its canonical form, or None."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None
