"""What happens when somebody asks: the current publication answers, wherever its index is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from knowledge_service.domain.current_publications import CurrentPublication, CurrentPublications
from knowledge_service.domain.decisions import Asked, Decision
from knowledge_service.domain.heads import Head
from knowledge_service.domain.ranking import Hit


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, and the publication it was made from."""

    decision: Decision
    publication: CurrentPublication


@dataclass(frozen=True, slots=True)
class Found:
    """The articles found for some queries, in their order."""

    hits: tuple[tuple[Hit, ...], ...]
    as_of: datetime
    degraded: bool


class Answering:
    """What happens when a question comes in."""

    def __init__(self, current_publications: CurrentPublications) -> None:
        self._current_publications = current_publications

    async def ask(self, organization_id: str, asked: Asked) -> Answer:
        """Answer from the current publication of the organization."""
        publication = await self._current_publications.current(organization_id)
        return Answer(await publication.index.answer(organization_id, asked), publication)

    async def search(self, organization_id: str, queries: Sequence[str], limit: int) -> Found:
        """The best articles for each query, whatever their confidence."""
        publication = await self._current_publications.current(organization_id)
        hits = tuple([await publication.index.search(organization_id, query, limit) for query in queries])
        return Found(hits, publication.published_at, publication.degraded)

    async def epoch(self, organization_id: str) -> Head:
        """Which publication is current, without waiting for its index."""
        return await self._current_publications.head(organization_id)
