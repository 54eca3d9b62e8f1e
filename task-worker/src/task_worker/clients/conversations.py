"""An organization's conversations, from chat-service's export."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from shared.contracts.chat import TurnPage
from shared.http_client import ServiceClient
from task_worker.domain.conversations import Turn

EXPORT = "/internal/conversations/export"


class ChatConversations:
    """The export of chat-service, page by page, the newest turn first."""

    def __init__(self, chat: ServiceClient) -> None:
        self._chat = chat

    async def pages(
        self, organization_id: str, since: datetime | None, until: datetime | None
    ) -> AsyncIterator[Sequence[Turn]]:
        """Turns from `since` on and before `until`, some hundreds at a time."""
        cursor: str | None = None
        while True:
            query = {
                "organization_id": organization_id,
                "since": since.isoformat() if since else None,
                "until": until.isoformat() if until else None,
                "cursor": cursor,
            }
            page = await self._chat.get(EXPORT, TurnPage, query=query)
            yield [
                Turn(
                    message_id=e.message_id,
                    session_id=e.session_id,
                    question=e.question,
                    outcome=e.outcome,
                    confidence=e.confidence,
                    article_id=e.article_id,
                    rating=e.rating,
                    created_at=e.created_at,
                )
                for e in page.turns
            ]
            cursor = page.next_cursor
            if cursor is None:
                return
