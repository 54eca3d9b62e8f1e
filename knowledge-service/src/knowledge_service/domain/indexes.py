"""Built indexes: those of small knowledge bases in this process, those of large ones in processes of their own.

Python runs one piece of Python at a time in a process, so what takes long must not share one with the requests of
everybody else. Small ones rank in a millisecond, less than a way to another process and back.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog

from knowledge_service.domain.decisions import Asked, Decision, answer
from knowledge_service.domain.publication_cache import PublicationCache
from knowledge_service.domain.publications import Publication, plain_size, unpack
from knowledge_service.domain.ranking import Hit, Ranker, RankerFactory
from knowledge_service.domain.turns import FairTurns
from shared import deadlines
from shared.errors import DeadlineExceeded, Overloaded

log = structlog.get_logger()

Result = TypeVar("Result")

SMALL = 256 * 1024
"""Bytes of articles that are ranked where the requests are: about 500 articles, at most 3 ms a question."""
SHORT = 256
"""Characters of a question that is ranked there; a long one goes through the terms of a book."""
IN_MEMORY = 6
"""Bytes of memory for a byte of articles with its index: 3.5 to 5.4 were measured."""
OVERHEAD = 64 * 1024
"""Bytes of memory of an index with nothing in it."""
WAITING_EACH = 32
"""Questions of one organization that may wait for a ranking."""


class Index(Protocol):
    """The built index of one publication, wherever it is."""

    @property
    def is_here(self) -> bool:
        """Whether it can still be asked."""
        ...

    async def answer(self, organization_id: str, asked: Asked) -> Decision:
        """Rank and decide, for that organization."""
        ...

    async def search(self, organization_id: str, query: str, limit: int) -> tuple[Hit, ...]:
        """The best articles, whatever their confidence."""
        ...

    async def versions(self, article_ids: Sequence[str]) -> Mapping[str, int]:
        """The published versions of those of these articles that are in it."""
        ...


class Host(Protocol):
    """A process that holds indexes; losing it raises CapabilityUnavailable, and then it holds none of them."""

    @property
    def life(self) -> int:
        """Rises with every new process."""
        ...

    async def build(self, publication_id: UUID, packed: bytes) -> None:
        """Build and keep the index of a publication."""
        ...

    async def answer(self, publication_id: UUID, asked: Asked) -> Decision:
        """Ask an index."""
        ...

    async def search(self, publication_id: UUID, query: str, limit: int) -> tuple[Hit, ...]:
        """Search an index."""
        ...

    async def versions(self, publication_id: UUID, article_ids: Sequence[str]) -> Mapping[str, int]:
        """The versions an index holds."""
        ...

    async def drop(self, publication_id: UUID) -> None:
        """Forget an index."""
        ...


async def _in_time(work: Coroutine[Any, Any, Result]) -> Result:
    """The result, unless the request's time is up first."""
    try:
        async with asyncio.timeout(deadlines.remaining(deadlines.WHOLE_REQUEST)):
            return await work
    except TimeoutError as error:
        raise DeadlineExceeded from error


class LocalIndex:
    """An index in this process; a long question to it goes to a thread, in turn with those of other organizations."""

    is_here = True

    def __init__(self, ranker: Ranker, turns: FairTurns) -> None:
        self.ranker = ranker
        self._turns = turns
        self._versions = {article.article_id: article.version for article in ranker.articles}

    async def answer(self, organization_id: str, asked: Asked) -> Decision:
        """Rank and decide."""
        return await self._ranked(organization_id, asked.question, lambda: answer(self.ranker, asked))

    async def search(self, organization_id: str, query: str, limit: int) -> tuple[Hit, ...]:
        """The best articles."""
        return await self._ranked(organization_id, query, lambda: tuple(self.ranker.rank(query, limit)))

    async def versions(self, article_ids: Sequence[str]) -> Mapping[str, int]:
        """The published versions."""
        return {each: self._versions[each] for each in article_ids if each in self._versions}

    async def _ranked(self, organization_id: str, question: str, rank: Callable[[], Result]) -> Result:
        if len(question) <= SHORT:
            await asyncio.sleep(0)  # many queries of one request leave room between them
            return rank()
        return await _in_time(self._turns.run(organization_id, lambda: asyncio.to_thread(rank)))


class HostedIndex:
    """An index in a process of its own, which organizations use in turn."""

    def __init__(self, host: Host, turns: FairTurns, publication_id: UUID) -> None:
        self._host = host
        self._turns = turns
        self._publication_id = publication_id
        self._life = host.life

    @property
    def is_here(self) -> bool:
        """Whether the process still is the one that built it."""
        return self._host.life == self._life

    async def answer(self, organization_id: str, asked: Asked) -> Decision:
        """Rank and decide."""
        return await self._ranked(organization_id, lambda: self._host.answer(self._publication_id, asked))

    async def search(self, organization_id: str, query: str, limit: int) -> tuple[Hit, ...]:
        """The best articles."""
        return await self._ranked(organization_id, lambda: self._host.search(self._publication_id, query, limit))

    async def versions(self, article_ids: Sequence[str]) -> Mapping[str, int]:
        """The published versions; quickly looked up, so it takes no turn."""
        return await _in_time(self._host.versions(self._publication_id, article_ids))

    async def drop(self) -> None:
        """Forget it."""
        if self.is_here:
            await self._host.drop(self._publication_id)

    async def _ranked(self, organization_id: str, rank: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        return await _in_time(self._turns.run(organization_id, rank))


@dataclass(frozen=True, slots=True)
class Room:
    """A process for indexes: those with up to `up_to` bytes of articles, together at most `memory` bytes."""

    host: Host
    up_to: int
    memory: int


class _Place:
    """Where indexes of one size are: their cache, and who is next to use them and to have one built."""

    def __init__(self, memory: int, host: Host | None = None) -> None:
        self.host = host
        self.cache: PublicationCache[Index] = PublicationCache(memory)
        self.turns = FairTurns(1, waiting_each=WAITING_EACH)
        self.builds = FairTurns(1, waiting_each=WAITING_EACH)


class Indexes:
    """Finds and builds the index of a publication."""

    def __init__(self, make_ranker: RankerFactory, *, memory: int, rooms: Sequence[Room] = ()) -> None:
        """`rooms` in order of what they take; the last takes everything larger too. Without any, all is built here."""
        self.scorer = make_ranker.scorer
        self._make_ranker = make_ranker
        self._here = _Place(memory)
        self._rooms = [(room.up_to, _Place(room.memory, room.host)) for room in rooms]
        self.nothing = LocalIndex(make_ranker(()), self._here.turns)

    def find(self, publication: Publication) -> Index | None:
        """The index of a publication, if it is built."""
        for place in self._places():
            found = place.cache.find(publication.organization_id, publication.publication_id)
            if found is not None and found.is_here:
                return found
        return None

    async def build(self, publication: Publication, packed: bytes) -> Index:
        """Build it where it belongs; raises Overloaded while there is no place for it."""
        plain = await asyncio.to_thread(plain_size, packed)
        place = self._place_for(plain)
        async with place.builds.turn(publication.organization_id):
            return self.find(publication) or await self._build(place, publication, packed, plain)

    async def _build(self, place: _Place, publication: Publication, packed: bytes, plain: int) -> Index:
        size = OVERHEAD + plain * IN_MEMORY
        wait = place.cache.wait_for(publication.organization_id, size, time.monotonic())
        if wait is not None:
            log.warning("no_room_for_index", organization_id=publication.organization_id, megabytes=size >> 20)
            raise Overloaded(retry_after=min(60, int(wait.total_seconds()) + 1))
        began = time.monotonic()
        index = await self._built(place, publication, packed)
        took = timedelta(seconds=time.monotonic() - began)
        await self._keep(place, publication, index, size, took)
        return index

    async def _built(self, place: _Place, publication: Publication, packed: bytes) -> Index:
        if place.host is None:
            return LocalIndex(await asyncio.to_thread(self._ranker, packed), place.turns)
        await place.host.build(publication.publication_id, packed)
        return HostedIndex(place.host, place.turns, publication.publication_id)

    async def _keep(self, place: _Place, publication: Publication, index: Index, size: int, took: timedelta) -> None:
        owner, now = publication.organization_id, time.monotonic()
        gone = place.cache.put(owner, publication.publication_id, index, size=size, took=took, now=now)
        for other in self._places():
            gone += other.cache.forget(owner) if other is not place else []
        log.info(
            "index_built",
            organization_id=owner,
            epoch=publication.epoch,
            articles=publication.articles,
            took_ms=round(took.total_seconds() * 1000, 1),
            evicted=len(gone),
        )
        for each in gone:
            if isinstance(each, HostedIndex):
                await each.drop()

    def _ranker(self, packed: bytes) -> Ranker:
        """Build in a thread, which hands the interpreter on after every article."""
        return self._make_ranker(unpack(packed), pause=lambda: time.sleep(0))

    def _places(self) -> list[_Place]:
        return [self._here, *(place for _, place in self._rooms)]

    def _place_for(self, plain: int) -> _Place:
        if plain <= SMALL or not self._rooms:
            return self._here
        return next((place for up_to, place in self._rooms if plain <= up_to), self._rooms[-1][1])
