"""knowledge-service: answers and published epochs."""

from chat_service.clients.away import away_as
from chat_service.domain.answers import Question
from chat_service.domain.epochs import Published
from chat_service.domain.turns import Answer, Citation, Suggestion
from shared.contracts.knowledge import AskRequest, EpochState, KnowledgeAnswer
from shared.http_client import ServiceClient

SUGGESTIONS = 5


class KnowledgeAnswers:
    """Answers straight from knowledge-service."""

    def __init__(self, knowledge: ServiceClient) -> None:
        self._knowledge = knowledge

    async def ask(self, question: Question) -> tuple[Answer, tuple[str, ...]]:
        """The answer, and what was degraded while it was found."""
        request = AskRequest(
            organization_id=question.organization_id,
            question=question.text,
            language=question.language,
            tags=list(question.tags),
        )
        with away_as("knowledge"):
            found = await self._knowledge.post("/internal/knowledge/ask", request, KnowledgeAnswer, repeat=True)
        return _answer(found), tuple(found.degraded)

    async def published(self, organization_id: str) -> Published:
        """The epoch that answers now."""
        query = {"organization_id": organization_id}
        with away_as("knowledge"):
            state = await self._knowledge.get("/internal/knowledge/epoch", EpochState, query=query)
        return Published(state.epoch, state.scorer)


def _answer(found: KnowledgeAnswer) -> Answer:
    cited = found.answer
    suggestions = [each for each in found.suggestions if cited is None or each.article_id != cited.article_id]
    return Answer(
        outcome=found.outcome,
        citation=Citation(cited.article_id, cited.version, cited.question, cited.text) if cited else None,
        confidence=found.confidence,
        suggestions=tuple(Suggestion(s.article_id, s.question, s.confidence) for s in suggestions[:SUGGESTIONS]),
        follow_ups=tuple(found.follow_ups),
        epoch=found.epoch,
        scorer=found.scorer,
        as_of=found.as_of,
    )
