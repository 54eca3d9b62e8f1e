"""What chat-service promises to its neighbours: an organization's conversations, for analysis."""

from datetime import datetime
from typing import Literal

from shared.contracts import Contract
from shared.contracts.knowledge import Outcome


class Turn(Contract):
    """One question with its outcome."""

    message_id: str
    session_id: str
    user_id: str
    question: str
    outcome: Outcome
    confidence: float
    article_id: str | None = None
    rating: Literal["up", "down"] | None = None
    created_at: datetime


class TurnPage(Contract):
    """Up to 1,000 turns; `next_cursor` None at the end."""

    turns: list[Turn]
    next_cursor: str | None
