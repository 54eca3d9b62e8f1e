"""In-memory twins of the stores; they keep the same promises as the real ones and pass the same tests."""

from collections.abc import AsyncIterator
from uuid import UUID

from knowledge_service.domain.articles import Article
from knowledge_service.domain.import_files import Limits, Row, Upload, read_rows
from knowledge_service.domain.importing import Import
from knowledge_service.domain.publications import Publication
from shared.errors import CapabilityUnavailable


class Outage:
    """A switch the twins share: while it is on, every call fails as it does when CQL is away."""

    def __init__(self) -> None:
        self.on = False

    def check(self) -> None:
        """Raise CapabilityUnavailable during the outage."""
        if self.on:
            raise CapabilityUnavailable(capability="knowledge")


class InMemoryArticles:
    """Twin of `CqlArticles`."""

    def __init__(self, outage: Outage | None = None) -> None:
        self._outage = outage or Outage()
        self._current: dict[tuple[str, UUID], Article] = {}
        self._versions: dict[tuple[str, UUID], dict[int, Article]] = {}

    async def find(self, organization_id: str, article_id: UUID) -> Article | None:
        """The article, unless it is absent or was removed."""
        self._outage.check()
        return self._current.get((organization_id, article_id))

    async def put(self, organization_id: str, article: Article) -> None:
        """Store this version as the current one."""
        self._outage.check()
        place = (organization_id, article.article_id)
        self._versions.setdefault(place, {})[article.version] = article
        self._current[place] = article

    async def remove(self, organization_id: str, article_id: UUID) -> None:
        """Remove the article and its versions."""
        self._outage.check()
        self._current.pop((organization_id, article_id), None)
        self._versions.pop((organization_id, article_id), None)

    async def page(self, organization_id: str, before: UUID | None, limit: int) -> list[Article]:
        """Up to `limit` articles made before that one, newest first."""
        self._outage.check()
        own = [article for (owner, _), article in self._current.items() if owner == organization_id]
        older = [article for article in own if before is None or article.article_id < before]
        return sorted(older, key=lambda article: article.article_id, reverse=True)[:limit]

    async def everything(self, organization_id: str) -> AsyncIterator[Article]:
        """Every article."""
        self._outage.check()
        for (owner, _), article in list(self._current.items()):
            if owner == organization_id:
                yield article

    async def versions(self, organization_id: str, article_id: UUID, limit: int) -> list[Article]:
        """The latest versions, newest first."""
        self._outage.check()
        versions = self._versions.get((organization_id, article_id), {})
        return [versions[number] for number in sorted(versions, reverse=True)][:limit]


class InMemoryPublications:
    """Twin of `CqlPublications`; several replicas in a test share one."""

    def __init__(self, outage: Outage | None = None) -> None:
        self._outage = outage or Outage()
        self._kept: dict[str, dict[int, tuple[Publication, bytes]]] = {}

    async def head(self, organization_id: str) -> Publication | None:
        """The current publication."""
        self._outage.check()
        epochs = self._kept.get(organization_id)
        return epochs[max(epochs)][0] if epochs else None

    async def get(self, organization_id: str, epoch: int) -> Publication | None:
        """The publication of an epoch."""
        self._outage.check()
        kept = self._kept.get(organization_id, {}).get(epoch)
        return kept[0] if kept else None

    async def packed(self, publication: Publication) -> bytes:
        """Its packed articles."""
        self._outage.check()
        kept = self._kept.get(publication.organization_id, {}).get(publication.epoch)
        if kept is None or kept[0] != publication:
            raise CapabilityUnavailable(capability="knowledge")
        return kept[1]

    async def publish(self, publication: Publication, packed: bytes) -> bool:
        """Take the epoch; False when somebody else has it."""
        self._outage.check()
        epochs = self._kept.setdefault(publication.organization_id, {})
        if publication.epoch in epochs:
            return False
        epochs[publication.epoch] = (publication, packed)
        return True


class InMemorySnapshots:
    """Twin of `DiskSnapshots`."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Publication, bytes]] = {}

    def save(self, publication: Publication, packed: bytes) -> None:
        """Keep it as the organization's latest."""
        self._kept[publication.organization_id] = (publication, packed)

    def load(self, organization_id: str) -> tuple[Publication, bytes] | None:
        """The latest one kept."""
        return self._kept.get(organization_id)


class InMemoryImports:
    """Twin of `CqlImports`."""

    def __init__(self, outage: Outage | None = None) -> None:
        self._outage = outage or Outage()
        self._kept: dict[tuple[str, UUID], Import] = {}

    async def save(self, organization_id: str, report: Import) -> None:
        """Store the report as it is now."""
        self._outage.check()
        self._kept[(organization_id, report.import_id)] = report

    async def find(self, organization_id: str, import_id: UUID) -> Import | None:
        """The report, unless there is none."""
        self._outage.check()
        return self._kept.get((organization_id, import_id))


class ReadRows:
    """Twin of `SpooledRows`."""

    def __init__(self, rows: list[Row]) -> None:
        self.total = len(rows)
        self.is_closed = False
        self._rows = rows

    async def batches(self) -> AsyncIterator[list[Row]]:
        """All rows in their order, some at a time."""
        for start in range(0, self.total, 100):
            yield self._rows[start : start + 100]

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True


class HereReader:
    """Twin of `ImportReader` that reads in this process, bounded by rows and headings alone."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._limits = limits

    async def read(self, upload: Upload) -> ReadRows:
        """The rows of a file."""
        return ReadRows(read_rows(upload, self._limits))


class KnownEpochs:
    """Announcements that other replicas in a test hear, and the hints they leave."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    async def announce(self, organization_id: str, epoch: int) -> None:
        """Remember what was announced."""
        self.epochs[organization_id] = epoch

    async def announced(self, organization_id: str) -> int | None:
        """The epoch last announced."""
        return self.epochs.get(organization_id)


class Wants:
    """Organizations that all want the starter knowledge base, but for those named."""

    def __init__(self, *without_sample: str) -> None:
        self._without_sample = without_sample

    async def wants_sample(self, organization_id: str) -> bool:
        """Whether it answers from the starter knowledge base until it publishes."""
        return organization_id not in self._without_sample
