"""The organization's knowledge base, for research."""

from collections.abc import Sequence

from shared.contracts.knowledge import Retrieved, RetrieveRequest
from shared.http_client import ServiceClient
from task_worker.domain.research import Hit, Lookup


class ServiceKnowledge:
    """knowledge-service's retrieval of several queries at once."""

    def __init__(self, knowledge: ServiceClient) -> None:
        self._knowledge = knowledge

    async def look_up(self, organization_id: str, queries: Sequence[str], limit: int) -> Lookup:
        """The best articles for each query, in the order of the queries."""
        request = RetrieveRequest(organization_id=organization_id, queries=list(queries), limit=limit)
        found = await self._knowledge.post("/internal/knowledge/retrieve", request, Retrieved, repeat=True)
        hits = tuple(
            tuple(
                Hit(h.article_id, h.version, h.question, h.answer, h.score, h.confidence, tuple(h.tags))
                for h in result.hits
            )
            for result in found.results
        )
        return Lookup(hits, found.as_of)
