"""Which knowledge answers for an organization right now, in memory, on local disk, or straight from the package.

A publication with its built index is immutable, so every replica that has the same epoch gives the same answers; what
changes is only which publication is current (`heads` has the rule), and that is asked from the store at most once a
second.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from knowledge_service.domain.articles import PublishedArticle
from knowledge_service.domain.heads import Head, Known, source
from knowledge_service.domain.indexes import Index, Indexes
from knowledge_service.domain.publications import Publication, digest_of, pack
from shared import deadlines
from shared.errors import CapabilityUnavailable, ServiceError
from shared.single_flight import SingleFlight

log = structlog.get_logger()

STARTER = "00000000-0000-7000-8000-000000000000"
"""The reserved organization that owns the starter knowledge base."""

INSTALL = timedelta(seconds=2)
"""How long a publisher waits for the index of what it published."""
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
    """The publication that answers, with its index; `epoch` is 0 when it is not the organization's own."""

    epoch: int
    scorer: str
    published_at: datetime
    index: Index
    degraded: bool = False


@dataclass(slots=True)
class _Remembered:
    """What is known of an organization, and the lock of whoever asks for more."""

    known: Known = field(default_factory=Known)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class CurrentPublications:
    """The current publication of every organization."""

    def __init__(
        self,
        publications: PublicationStore,
        snapshots: Snapshots,
        hints: Hints,
        organizations: Organizations,
        indexes: Indexes,
        starter: Sequence[PublishedArticle],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publications = publications
        self._snapshots = snapshots
        self._hints = hints
        self._organizations = organizations
        self._indexes = indexes
        self._packaged = packaged(starter)
        self._clock = clock
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._loads: SingleFlight[UUID, Index] = SingleFlight()

    async def current(self, organization_id: str) -> CurrentPublication:
        """The publication that answers now, with its index.

        While the store is away it is the last one known here, `degraded`; raises CapabilityUnavailable("knowledge")
        when the organization is known to have published something that is nowhere in reach.
        """
        head = await self.head(organization_id)
        index = self._indexes.nothing if head.publication is None else await self._index(head.publication)
        return CurrentPublication(head.epoch, head.scorer, head.published_at, index, head.degraded)

    async def head(self, organization_id: str) -> Head:
        """Which publication answers now; its index need not be built."""
        publication, unsure = await self._asked(organization_id)
        announced = await self._hints.announced(organization_id) if publication is None and unsure else None
        is_newcomer = publication is None and not announced
        wants_sample = is_newcomer and await self._organizations.wants_sample(organization_id)
        found = source(publication, announced=announced, wants_sample=wants_sample)
        if found == "unreachable":
            raise CapabilityUnavailable(capability="knowledge")
        if found == "starter":
            return await self._starter(degraded=unsure)
        epoch = 0 if publication is None else publication.epoch
        return Head(epoch, self._indexes.scorer, publication, unsure)

    async def published_versions(self, organization_id: str, article_ids: Sequence[str]) -> Mapping[str, int]:
        """The versions that answer now, of those of these articles that are published."""
        publication, _ = await self._asked(organization_id)
        if publication is None or not article_ids:
            return {}
        return await (await self._index(publication)).versions(article_ids)

    async def install(self, publication: Publication, packed: bytes) -> None:
        """Answer with a publication that was just made, before anybody is told that it was.

        A large one takes longer to build than its publisher can wait: it is the current one from now on all the same,
        and whoever asks waits for it.
        """
        remembered = self._remember(publication.organization_id)
        remembered.known = remembered.known.installed(publication, self._clock())
        building = self._loads.start(publication.publication_id, lambda: self._build(publication, packed))
        await asyncio.wait({building}, timeout=deadlines.remaining(INSTALL))

    async def heard(self, organization_id: str, epoch: int) -> None:
        """Somebody announced an epoch: where the organization is known here, get ready before the next question."""
        remembered = self._remembered.get(organization_id)
        if remembered is None or remembered.known.announced(epoch) == remembered.known:
            return
        remembered.known = remembered.known.announced(epoch)
        try:
            publication, _ = await self._asked(organization_id)
            if publication is not None:
                await self._index(publication)
        except ServiceError as error:
            log.warning("publication_not_prepared", organization_id=organization_id, error=repr(error))

    async def load_starter(self) -> None:
        """Build the index of the starter base before the first question."""
        head = await self._starter(degraded=False)
        if head.publication is not None:
            await self._index(head.publication)

    async def _starter(self, *, degraded: bool) -> Head:
        publication, unsure = await self._asked(STARTER)
        if publication is None:
            publication = self._packaged[0]
        # Customers on the starter base have epoch 0 whatever it holds, so its contents are part of the scorer's name.
        return Head(0, f"{self._indexes.scorer}+{publication.digest[:8]}", publication, degraded or unsure)

    def _remember(self, organization_id: str) -> _Remembered:
        remembered = self._remembered.get(organization_id)
        if remembered is None:
            remembered = self._remembered[organization_id] = _Remembered()
            if len(self._remembered) > KNOWN:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(organization_id)
        return remembered

    async def _asked(self, organization_id: str) -> tuple[Publication | None, bool]:
        """The current publication, and whether that could not be made sure of."""
        remembered = self._remember(organization_id)
        if remembered.known.is_fresh(self._clock()):
            return remembered.known.publication, False
        async with remembered.lock:
            asked_at = self._clock()
            if remembered.known.is_fresh(asked_at):
                return remembered.known.publication, False
            try:
                head = await self._publications.head(organization_id)
            except CapabilityUnavailable:
                return await self._last_known(organization_id, remembered), True
            remembered.known = remembered.known.told(head, asked_at)
            return remembered.known.publication, False

    async def _last_known(self, organization_id: str, remembered: _Remembered) -> Publication | None:
        if remembered.known.publication is None:
            kept = await asyncio.to_thread(self._snapshots.load, organization_id)
            remembered.known = remembered.known.kept(kept[0] if kept is not None else None)
        return remembered.known.publication

    async def _index(self, publication: Publication) -> Index:
        """The index of a publication, built once however many ask; it is built to the end even if they give up."""
        found = self._indexes.find(publication)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(deadlines.remaining(deadlines.WHOLE_REQUEST)):
                return await self._loads.run(publication.publication_id, lambda: self._load(publication))
        except TimeoutError as error:
            raise CapabilityUnavailable(
                "The knowledge base is being prepared.", capability="knowledge", retry_after=5
            ) from error

    async def _load(self, publication: Publication) -> Index:
        deadlines.lift()
        if publication == self._packaged[0]:
            return await self._indexes.build(publication, self._packaged[1])
        kept = await asyncio.to_thread(self._snapshots.load, publication.organization_id)
        if kept is not None and kept[0] == publication:
            return await self._indexes.build(publication, kept[1])
        return await self._build(publication, await self._publications.packed(publication))

    async def _build(self, publication: Publication, packed: bytes) -> Index:
        deadlines.lift()
        await asyncio.to_thread(self._snapshots.save, publication, packed)
        return await self._indexes.build(publication, packed)


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
