"""An organization's conversations as an analysis sees them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its outcome; who asked is left out on purpose."""

    message_id: str
    session_id: str
    question: str
    outcome: str
    confidence: float
    article_id: str | None
    rating: str | None
    created_at: datetime


class Conversations(Protocol):
    """Where conversations are."""

    def pages(
        self, organization_id: str, since: datetime | None, until: datetime | None
    ) -> AsyncIterator[Sequence[Turn]]:
        """Turns from `since` on and before `until`, in pages, the newest first."""
        ...
