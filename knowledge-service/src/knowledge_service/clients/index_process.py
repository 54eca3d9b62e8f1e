"""A process that holds the indexes of large knowledge bases, as the domain sees it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from knowledge_service.clients.children import Child
from knowledge_service.domain.decisions import Asked, Decision
from knowledge_service.domain.publications import article_of
from knowledge_service.domain.ranking import Hit

RANKING = timedelta(seconds=20)
BUILDING = timedelta(minutes=10)
"""Longer than any base that fits takes on a busy machine; a process that takes even longer is stuck."""


class IndexProcess:
    """A `Host`; its process is started with the first index."""

    def __init__(self, memory: int) -> None:
        """`memory` is what the process may use, in bytes."""
        self._child = Child("knowledge_service.clients.index_child", [str(memory)], capability="knowledge")

    @property
    def life(self) -> int:
        """Rises with every new process."""
        return self._child.life

    async def close(self) -> None:
        """End the process."""
        await self._child.close()

    async def build(self, publication_id: UUID, packed: bytes) -> None:
        """Build and keep the index of a publication."""
        await self._child.call("build", {"publication": str(publication_id)}, packed, within=BUILDING)

    async def answer(self, publication_id: UUID, asked: Asked) -> Decision:
        """Ask an index."""
        given = {"publication": str(publication_id), "asked": asked}
        return _decision(await self._child.call("answer", given, within=RANKING))

    async def search(self, publication_id: UUID, query: str, limit: int) -> tuple[Hit, ...]:
        """Search an index."""
        given = {"publication": str(publication_id), "query": query, "limit": limit}
        return _hits(await self._child.call("search", given, within=RANKING))

    async def versions(self, publication_id: UUID, article_ids: Sequence[str]) -> Mapping[str, int]:
        """The versions an index holds."""
        given = {"publication": str(publication_id), "articles": article_ids}
        found: dict[str, int] = await self._child.call("versions", given, within=RANKING)
        return found

    async def drop(self, publication_id: UUID) -> None:
        """Forget an index."""
        await self._child.call("drop", {"publication": str(publication_id)}, within=RANKING)


def _hit(told: Mapping[str, Any]) -> Hit:
    return Hit(article_of(told["article"]), told["score"], told["confidence"], told["covers"])


def _hits(told: Sequence[Mapping[str, Any]]) -> tuple[Hit, ...]:
    return tuple(map(_hit, told))


def _decision(told: Mapping[str, Any]) -> Decision:
    return Decision(
        outcome=told["outcome"],
        answer=None if told["answer"] is None else _hit(told["answer"]),
        confidence=told["confidence"],
        suggestions=_hits(told["suggestions"]),
        follow_ups=tuple(told["follow_ups"]),
        candidates=_hits(told["candidates"]),
    )
