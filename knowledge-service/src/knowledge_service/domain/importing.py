"""Importing many articles: a job in the background with a report that every replica can show."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

import orjson
import structlog

from knowledge_service.domain.articles import Article, ArticleText, now
from knowledge_service.domain.authoring import ArticleStore
from knowledge_service.domain.import_files import Row, UnreadableFile, UnreadableRow, Upload
from knowledge_service.domain.publications import Publication
from knowledge_service.domain.text import normalise
from knowledge_service.domain.turns import FairTurns
from shared import deadlines
from shared.background import Background
from shared.errors import CapabilityUnavailable, NotFound, Overloaded, ServiceError
from shared.ids import new_id

log = structlog.get_logger()

State = Literal["running", "succeeded", "failed"]

AT_ONCE = 8
"""Articles written at the same time, so that an import leaves room for those who ask."""
READING = 2
WRITING = 2
"""Files read, and batches of rows written, at the same time; organizations take turns at both."""
OF_ONE_ORGANIZATION = 4
OF_ALL = 32
"""Imports a process takes on: each holds its file, up to 10 MiB, until it is read."""
REPORT_EVERY = timedelta(seconds=1)
LOST = timedelta(seconds=30)
"""An import nobody reported on for so long died with its process."""
PATIENCE = timedelta(seconds=30)
"""How long an import waits for the database to come back."""
AT_MOST = timedelta(minutes=30)
"""How long an import may take from its beginning to its end."""
REPORTED_ERRORS = 200
INTERRUPTED = "The service was stopped: send the file again; what is in already will be found unchanged."


class ImportNotFound(NotFound):
    """There is no import with this id."""


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong with one row; 0 is the file as a whole."""

    row: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Import:
    """How an import goes; `errors` holds the first 200, `failed` counts them all."""

    import_id: UUID
    state: State
    dry_run: bool
    created_at: datetime
    seen_at: datetime
    total: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    errors: tuple[RowError, ...] = ()
    epoch: int | None = None

    def refused(self, *errors: RowError) -> "Import":
        """The same with more failed rows."""
        return replace(self, failed=self.failed + len(errors), errors=(*self.errors, *errors)[:REPORTED_ERRORS])

    def broken(self, code: str, message: str) -> "Import":
        """The same, failed as a whole."""
        return replace(self, state="failed", errors=(RowError(0, code, message), *self.errors)[:REPORTED_ERRORS])


class ImportStore(Protocol):
    """The reports of imports."""

    async def save(self, organization_id: str, report: Import) -> None:
        """Store the report as it is now."""
        ...

    async def find(self, organization_id: str, import_id: UUID) -> Import | None:
        """The report, unless there is none."""
        ...


class Publisher(Protocol):
    """What publishes."""

    async def publish(self, organization_id: str) -> Publication:
        """Publish every article of an organization."""
        ...


class Rows(Protocol):
    """The rows of a file that was read."""

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    def batches(self) -> AsyncIterator[list[Row]]:
        """All of them in their order, some at a time."""
        ...

    def close(self) -> None:
        """They are not needed any more."""
        ...


class RowReader(Protocol):
    """What reads files, within limits."""

    async def read(self, upload: Upload) -> Rows:
        """The rows of a file; raises UnreadableFile, also for one that asks for too much."""
        ...


CheckRow = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""The fields of a row as an ArticleText takes them, only those that were given; raises UnreadableRow."""
Result = TypeVar("Result")


@dataclass(slots=True)
class _Known:
    """The articles there are, by what a row may call them.

    As lines: as objects, 50,000 articles made a collection of garbage stop the loop for 150 ms.
    """

    by_external_id: dict[str, bytes] = field(default_factory=dict)
    by_question: dict[str, bytes] = field(default_factory=dict)

    def add(self, article: Article) -> None:
        line = orjson.dumps(article)
        if article.text.external_id is not None:
            self.by_external_id[article.text.external_id] = line
        self.by_question[normalise(article.text.question)] = line

    def find(self, fields: Mapping[str, Any]) -> Article | None:
        external_id = fields.get("external_id")
        found = self.by_external_id.get(external_id) if external_id is not None else None
        if found is not None:
            return _article(found)
        line = self.by_question.get(normalise(fields["question"]))
        if line is None:
            return None
        same = _article(line)
        return None if external_id is not None and same.text.external_id is not None else same


def _article(line: bytes) -> Article:
    kept = orjson.loads(line)
    text = kept["text"]
    return Article(
        article_id=UUID(kept["article_id"]),
        version=kept["version"],
        text=ArticleText(**text | {"alternatives": tuple(text["alternatives"]), "tags": tuple(text["tags"])}),
        created_at=datetime.fromisoformat(kept["created_at"]),
        updated_at=datetime.fromisoformat(kept["updated_at"]),
    )


@dataclass(slots=True)
class _Job:
    """One import while it runs; `report` is replaced as it proceeds."""

    organization_id: str
    report: Import


class Importing:
    """Runs imports; what a process did not finish is reported as failed, and can simply be sent again."""

    def __init__(
        self,
        articles: ArticleStore,
        imports: ImportStore,
        publishing: Publisher,
        reader: RowReader,
        check_row: CheckRow,
        *,
        at_most: timedelta = AT_MOST,
    ) -> None:
        self._articles = articles
        self._imports = imports
        self._publishing = publishing
        self._reader = reader
        self._check_row = check_row
        self._at_most = at_most
        self._reading = FairTurns(READING, waiting_each=OF_ONE_ORGANIZATION)
        self._writing = FairTurns(WRITING, waiting_each=OF_ONE_ORGANIZATION)
        self._running: Counter[str] = Counter()
        self._background = Background()

    async def import_articles(self, organization_id: str, upload: Upload, *, publish: bool, dry_run: bool) -> Import:
        """Start an import; raises Overloaded when many of this organization, or very many of all, are not done."""
        if self._running[organization_id] >= OF_ONE_ORGANIZATION:
            raise Overloaded("Your earlier imports are not done yet: wait for them.", retry_after=10)
        if len(self._background) >= OF_ALL:
            raise Overloaded(retry_after=10)
        at = now()
        job = _Job(organization_id, Import(new_id(), "running", dry_run, at, at))
        await self._imports.save(organization_id, job.report)
        begun = job.report
        self._running[organization_id] += 1
        self._background.spawn(self._run(job, upload, publish=publish)).add_done_callback(
            lambda _: self._ended(organization_id)
        )
        return begun

    def _ended(self, organization_id: str) -> None:
        self._running[organization_id] -= 1
        if not self._running[organization_id]:
            del self._running[organization_id]

    async def get_import(self, organization_id: str, import_id: UUID) -> Import:
        """How an import goes; raises ImportNotFound."""
        report = await self._imports.find(organization_id, import_id)
        if report is None:
            raise ImportNotFound
        if report.state == "running" and now() - report.seen_at > LOST:
            return report.broken("interrupted", INTERRUPTED)
        return report

    async def stop(self) -> None:
        """End what runs, each with a report that says so."""
        await self._background.close()

    async def _run(self, job: _Job, upload: Upload, *, publish: bool) -> None:
        """Import to the end, whatever happens, and say how it ended."""
        deadlines.lift()
        began = time.perf_counter()
        reporting = asyncio.create_task(self._keep_reporting(job))
        try:
            async with asyncio.timeout(self._at_most.total_seconds()):
                await self._import(job, upload, publish=publish)
        except TimeoutError:
            minutes = int(self._at_most.total_seconds() // 60)
            job.report = job.report.broken(
                "too_slow", f"The import took more than {minutes} minutes: send it in parts."
            )
        except UnreadableFile as error:
            job.report = job.report.broken(error.code, str(error))
        except ServiceError as error:
            job.report = job.report.broken(error.code, error.detail)
        except asyncio.CancelledError:
            job.report = job.report.broken("interrupted", INTERRUPTED)
            raise
        except Exception as error:
            # The outermost loop of a job: whatever it was, the report must not stay "running".
            job.report = job.report.broken("internal_error", "Something went wrong on our side.")
            log.error("import_failed", error=repr(error), exc_info=error)
        finally:
            reporting.cancel()
            await self._report_the_end(job)
            log.info(
                "import_ended",
                organization_id=job.organization_id,
                state=job.report.state,
                rows=job.report.total,
                failed=job.report.failed,
                took_ms=round((time.perf_counter() - began) * 1000),
            )

    async def _import(self, job: _Job, upload: Upload, *, publish: bool) -> None:
        async with self._reading.turn(job.organization_id):
            rows = await self._reader.read(upload)
        with contextlib.closing(rows):
            await self._import_all(job, rows)
        if rows.total and job.report.failed == rows.total:
            job.report = replace(job.report, state="failed")
            return
        epoch = None
        if publish and not job.report.dry_run:
            epoch = (await _patiently(lambda: self._publishing.publish(job.organization_id))).epoch
        job.report = replace(job.report, state="succeeded", epoch=epoch)

    async def _import_all(self, job: _Job, rows: Rows) -> None:
        job.report = replace(job.report, total=rows.total)
        known = await _patiently(lambda: self._known(job.organization_id))
        async for batch in rows.batches():
            async with self._writing.turn(job.organization_id):
                for start in range(0, len(batch), AT_ONCE):
                    await self._import_some(job, batch[start : start + AT_ONCE], known)

    async def _known(self, organization_id: str) -> _Known:
        known = _Known()
        async for article in self._articles.everything(organization_id):
            known.add(article)
        return known

    async def _import_some(self, job: _Job, rows: Sequence[Row], known: _Known) -> None:
        """Import a few rows at the same time; the loop is free between two of these."""
        changed: dict[UUID, Article] = {}
        for row in rows:
            try:
                article = self._planned(job, row, known)
            except UnreadableRow as error:
                job.report = job.report.refused(RowError(row.number, error.code, str(error)))
                continue
            if article is not None:
                known.add(article)
                changed[article.article_id] = article
        if not job.report.dry_run:
            await asyncio.gather(*(self._put(job, article) for article in changed.values()))
        await asyncio.sleep(0)

    async def _put(self, job: _Job, article: Article) -> None:
        await _patiently(lambda: self._articles.put(job.organization_id, article))

    def _planned(self, job: _Job, row: Row, known: _Known) -> Article | None:
        """The article a row makes, counted; None when it changes nothing."""
        if row.error is not None:
            raise row.error
        fields = self._check_row(row.fields)
        at = now()
        kept = known.find(fields)
        if kept is None:
            job.report = replace(job.report, created=job.report.created + 1)
            return Article(new_id(), 1, ArticleText(**fields), at, at)
        text = replace(kept.text, **fields)
        if text == kept.text:
            job.report = replace(job.report, unchanged=job.report.unchanged + 1)
            return None
        job.report = replace(job.report, updated=job.report.updated + 1)
        return kept.changed(text, at)

    async def _keep_reporting(self, job: _Job) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY.total_seconds())
            job.report = replace(job.report, seen_at=now())
            with contextlib.suppress(ServiceError):
                await self._imports.save(job.organization_id, job.report)

    async def _report_the_end(self, job: _Job) -> None:
        job.report = replace(job.report, seen_at=now())
        try:
            await _patiently(lambda: self._imports.save(job.organization_id, job.report))
        except ServiceError as error:
            # Readers take a report that nobody renews for a lost import, so this ends as "interrupted".
            log.warning("import_not_reported", error=repr(error))


async def _patiently(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do it again while the database is away or busy, for up to PATIENCE; everything here may be repeated."""
    give_up = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return await work()
        except (CapabilityUnavailable, Overloaded):
            if time.monotonic() > give_up:
                raise
        await asyncio.sleep(0.5)
