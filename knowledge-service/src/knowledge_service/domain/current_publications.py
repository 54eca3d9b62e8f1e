"""Which knowledge answers for an organization right now, in memory, on local disk, or straight from the package.

A publication with its built index is immutable, so every replica that has the same epoch gives the same answers; what
changes is only which publication is current, and that is asked from the store at most once a second.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from knowledge_service.domain.articles import PublishedArticle
from knowledge_service.domain.publications import Publication, digest_of, pack, unpack
from knowledge_service.domain.ranking import Ranker, RankerFactory
from shared import deadlines
from shared.errors import CapabilityUnavailable, ServiceError
from shared.single_flight import SingleFlight

log = structlog.get_logger()

STARTER = "00000000-0000-7000-8000-000000000000"
"""The reserved organization that owns the starter knowledge base."""

FRESH = timedelta(seconds=1)
"""How long the current epoch is believed before it is asked for again: publishes are seen within 2 s without Redis."""
BUILDS = 2
"""Rankers built at the same time."""
KNOWN = 20_000
"""Organizations whose current epoch is remembered."""


class PublicationStore(Protocol):
    """Every organization's publications."""

    async def head(self, organization_id: str) -> Publication | None:
        """The current publication, or None when nothing was ever published."""
        ...

    async def packed(self, publication: Publication) -> bytes:
        """Its packed articles."""
        ...

    async def publish(self, publication: Publication, packed: bytes) -> bool:
        """Make it the current one; False when its epoch was taken by somebody else."""
        ...


class Snapshots(Protocol):
    """Publications kept on local disk, for a restart while the store is away."""

    def save(self, publication: Publication, packed: bytes) -> None:
        """Keep it as the organization's latest; blocks."""
        ...

    def load(self, organization_id: str) -> tuple[Publication, bytes] | None:
        """The latest one kept, if there is one that can be read; blocks."""
        ...


class Hints(Protocol):
    """What others last announced, where the store itself cannot be asked."""

    async def announced(self, organization_id: str) -> int | None:
        """The epoch last announced, or None when nobody knows."""
        ...


class Organizations(Protocol):
    """What the accounts say of an organization."""

    async def wants_sample(self, organization_id: str) -> bool:
        """Whether it answers from the starter knowledge base until it publishes."""
        ...


@dataclass(frozen=True, slots=True)
class CurrentPublication:
    """A publication ready to answer; `epoch` is 0 when it is not the organization's own."""

    epoch: int
    scorer: str
    published_at: datetime
    ranker: Ranker
    degraded: bool = False

    def versions(self) -> dict[str, int]:
        """The versions it answers with, by article id."""
        return {article.article_id: article.version for article in self.ranker.articles}


@dataclass(slots=True)
class _Known:
    """What was last heard of an organization's current publication."""

    publication: Publication | None
    checked_at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class PublicationCache:
    """Built rankers by publication, least recently used out first; bounded by the wordings they hold."""

    def __init__(self, max_wordings: int) -> None:
        self._max_wordings = max_wordings
        self._rankers: OrderedDict[UUID, tuple[Ranker, int]] = OrderedDict()
        self._wordings = 0

    def find(self, publication_id: UUID) -> Ranker | None:
        """The ranker, if it is here."""
        found = self._rankers.get(publication_id)
        if found is None:
            return None
        self._rankers.move_to_end(publication_id)
        return found[0]

    def put(self, publication_id: UUID, ranker: Ranker) -> None:
        """Keep a ranker; the newest always stays, however large."""
        wordings = sum(len(article.text.wordings) for article in ranker.articles)
        self._rankers[publication_id] = (ranker, wordings)
        self._wordings += wordings
        while self._wordings > self._max_wordings and len(self._rankers) > 1:
            _, (_, gone) = self._rankers.popitem(last=False)
            self._wordings -= gone


class CurrentPublications:
    """The current publication of every organization."""

    def __init__(
        self,
        publications: PublicationStore,
        snapshots: Snapshots,
        hints: Hints,
        organizations: Organizations,
        make_ranker: RankerFactory,
        starter: Sequence[PublishedArticle],
        *,
        max_wordings: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publications = publications
        self._snapshots = snapshots
        self._hints = hints
        self._organizations = organizations
        self._make_ranker = make_ranker
        self._packaged = packaged(starter)
        self._cache = PublicationCache(max_wordings)
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._loads = SingleFlight[UUID, Ranker]()
        self._builds = asyncio.Semaphore(BUILDS)
        self._nothing = make_ranker(())

    async def current(self, organization_id: str) -> CurrentPublication:
        """The publication that answers now, with its index.

        While the store is away it is the last one known here, `degraded`; raises CapabilityUnavailable("knowledge")
        when the organization is known to have published something that is nowhere in reach.
        """
        publication, degraded = await self._head(organization_id)
        if publication is not None:
            return await self._with_ranker(publication, publication.epoch, degraded=degraded)
        if degraded and await self._hints.announced(organization_id):
            raise CapabilityUnavailable(capability="knowledge")
        if not await self._organizations.wants_sample(organization_id):
            return CurrentPublication(0, self._nothing.scorer, datetime.fromtimestamp(0, UTC), self._nothing, degraded)
        return await self._starter(degraded=degraded)

    async def published_versions(self, organization_id: str) -> dict[str, int]:
        """The versions of the organization's own articles that answer now."""
        publication, degraded = await self._head(organization_id)
        if publication is None:
            return {}
        return (await self._with_ranker(publication, publication.epoch, degraded=degraded)).versions()

    async def install(self, publication: Publication, packed: bytes) -> CurrentPublication:
        """Answer with a publication that was just made, before anybody is told that it was."""
        ranker = await self._built(publication, packed)
        known = self._remember(publication.organization_id)
        if known.publication is None or known.publication.epoch < publication.epoch:
            known.publication, known.checked_at = publication, self._clock()
        return CurrentPublication(publication.epoch, ranker.scorer, publication.published_at, ranker)

    async def heard(self, organization_id: str, epoch: int) -> None:
        """Somebody announced an epoch: where the organization is known here, get ready before the next question."""
        known = self._known.get(organization_id)
        if known is None or (known.publication is not None and known.publication.epoch >= epoch):
            return
        known.checked_at = float("-inf")
        try:
            await self.published_versions(organization_id)
        except ServiceError as error:
            log.warning("publication_not_prepared", organization_id=organization_id, error=repr(error))

    async def load_starter(self) -> None:
        """Build the index of the starter base before the first question."""
        await self._starter(degraded=False)

    async def _starter(self, *, degraded: bool) -> CurrentPublication:
        publication, unsure = await self._head(STARTER)
        if publication is None:
            publication = self._packaged[0]
        current = await self._with_ranker(publication, 0, degraded=degraded or unsure)
        # Customers on the starter base have epoch 0 whatever it holds, so its contents are part of the scorer's name.
        return CurrentPublication(0, f"{current.scorer}+{publication.digest[:8]}", *_rest(current))

    def _remember(self, organization_id: str) -> _Known:
        known = self._known.get(organization_id)
        if known is None:
            known = self._known[organization_id] = _Known(None, float("-inf"))
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(organization_id)
        return known

    async def _head(self, organization_id: str) -> tuple[Publication | None, bool]:
        """The current publication, and whether that could not be made sure of."""
        known = self._remember(organization_id)
        if self._clock() - known.checked_at < FRESH.total_seconds():
            return known.publication, False
        async with known.lock:
            asked_at = self._clock()
            if asked_at - known.checked_at < FRESH.total_seconds():
                return known.publication, False
            try:
                head = await self._publications.head(organization_id)
            except CapabilityUnavailable:
                return await self._last_known(organization_id, known), True
            if known.publication is None or (head is not None and head.epoch >= known.publication.epoch):
                known.publication = head
            known.checked_at = asked_at
            return known.publication, False

    async def _last_known(self, organization_id: str, known: _Known) -> Publication | None:
        if known.publication is None:
            kept = await asyncio.to_thread(self._snapshots.load, organization_id)
            if kept is not None:
                known.publication = kept[0]
        return known.publication

    async def _with_ranker(self, publication: Publication, epoch: int, *, degraded: bool) -> CurrentPublication:
        ranker = self._cache.find(publication.publication_id)
        if ranker is None:
            ranker = await self._loaded(publication)
        return CurrentPublication(epoch, ranker.scorer, publication.published_at, ranker, degraded)

    async def _loaded(self, publication: Publication) -> Ranker:
        """The ranker of a publication, built once however many ask; it is built to the end even if they give up."""
        return await self._loads.run(publication.publication_id, lambda: self._load(publication))

    async def _load(self, publication: Publication) -> Ranker:
        deadlines.lift()
        return await self._built(publication, await self._packed(publication))

    async def _packed(self, publication: Publication) -> bytes:
        if publication == self._packaged[0]:
            return self._packaged[1]
        kept = await asyncio.to_thread(self._snapshots.load, publication.organization_id)
        if kept is not None and kept[0] == publication:
            return kept[1]
        return await self._publications.packed(publication)

    async def _built(self, publication: Publication, packed: bytes) -> Ranker:
        async with self._builds:
            ranker = await asyncio.to_thread(self._build, publication, packed)
        self._cache.put(publication.publication_id, ranker)
        return ranker

    def _build(self, publication: Publication, packed: bytes) -> Ranker:
        began = time.perf_counter()
        ranker = self._make_ranker(unpack(packed))
        self._snapshots.save(publication, packed)
        log.info(
            "index_built",
            organization_id=publication.organization_id,
            epoch=publication.epoch,
            articles=publication.articles,
            took_ms=round((time.perf_counter() - began) * 1000, 1),
        )
        return ranker


def _rest(current: CurrentPublication) -> tuple[datetime, Ranker, bool]:
    return current.published_at, current.ranker, current.degraded


def packaged(articles: Sequence[PublishedArticle]) -> tuple[Publication, bytes]:
    """The starter articles of this release as a publication that needs no store."""
    packed = pack(articles)
    return (
        Publication(
            organization_id=STARTER,
            epoch=0,
            publication_id=UUID(STARTER),
            published_at=datetime(2026, 11, 25, tzinfo=UTC),
            articles=len(articles),
            chunks=1,
            digest=digest_of(packed),
        ),
        packed,
    )
