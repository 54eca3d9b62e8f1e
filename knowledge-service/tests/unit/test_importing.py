"""Imports in the background: what is counted, what is waited for, what is said when a process dies."""

import asyncio
import gc
import time
from collections.abc import Iterator
from datetime import timedelta

import orjson
import pytest

from knowledge_service.domain import importing
from knowledge_service.domain.articles import Article, ArticleText, now
from knowledge_service.domain.import_files import Upload
from knowledge_service.domain.importing import LOST, OF_ONE_ORGANIZATION, Import, Importing, ImportNotFound
from knowledge_service.domain.publications import Publication
from knowledge_service.routes.imports import checked_row
from knowledge_service.testing import HereReader, InMemoryArticles, InMemoryImports, Outage
from shared.errors import CapabilityUnavailable, Overloaded
from shared.ids import new_id

ORGANIZATION = "an organization"


class NoPublishing:
    async def publish(self, organization_id: str) -> Publication:  # noqa: ARG002 - the Protocol's signature
        raise CapabilityUnavailable(capability="knowledge")


class World:
    def __init__(self) -> None:
        self.outage = Outage()
        self.articles = InMemoryArticles(self.outage)
        self.imports = InMemoryImports(self.outage)
        self.importing = Importing(self.articles, self.imports, NoPublishing(), HereReader(), checked_row)

    async def import_(self, count: int = 3, *, publish: bool = False, organization: str = ORGANIZATION) -> Import:
        upload = Upload("json", orjson.dumps([{"question": f"Question {n}?", "answer": "So."} for n in range(count)]))
        return await self.importing.import_articles(organization, upload, publish=publish, dry_run=False)

    async def ended(self, begun: Import, organization: str = ORGANIZATION) -> Import:
        for _ in range(500):
            report = await self.imports.find(organization, begun.import_id)
            if report is not None and report.state != "running":
                return report
            await asyncio.sleep(0.02)
        pytest.fail("the import did not end")


@pytest.fixture
def world() -> World:
    return World()


async def test_an_import_waits_for_the_database_to_come_back(world: World) -> None:
    begun = await world.import_()
    world.outage.on = True
    await asyncio.sleep(0.2)
    world.outage.on = False

    report = await world.ended(begun)

    assert (report.state, report.created) == ("succeeded", 3)


async def test_an_import_that_cannot_publish_in_time_fails_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PATIENCE", timedelta(seconds=0))

    report = await world.ended(await world.import_(publish=True))

    assert (report.state, report.errors[0].code) == ("failed", "capability_unavailable")
    assert report.created == 3


async def test_an_import_nobody_works_on_any_more_is_reported_as_interrupted(world: World) -> None:
    long_ago = now() - LOST - timedelta(seconds=1)
    lost = Import(new_id(), "running", dry_run=False, created_at=long_ago, seen_at=long_ago)
    await world.imports.save(ORGANIZATION, lost)

    report = await world.importing.get_import(ORGANIZATION, lost.import_id)

    assert (report.state, report.errors[0].code) == ("failed", "interrupted")


async def test_stopping_ends_imports_with_a_report(world: World) -> None:
    begun = await world.import_(100_000)
    await asyncio.sleep(0.1)

    await world.importing.stop()

    report = await world.importing.get_import(ORGANIZATION, begun.import_id)
    assert (report.state, report.errors[0].code) == ("failed", "interrupted")


async def test_too_many_imports_of_one_organization_are_refused_and_others_are_taken(world: World) -> None:
    for _ in range(OF_ONE_ORGANIZATION):
        await world.import_(10_000)

    with pytest.raises(Overloaded):
        await world.import_()
    await world.ended(await world.import_(organization="neighbour"), "neighbour")
    await world.importing.stop()


async def test_a_small_import_does_not_wait_for_the_large_ones_of_others(world: World) -> None:
    large = [await world.import_(20_000) for _ in range(OF_ONE_ORGANIZATION)]

    small = await world.ended(await world.import_(organization="neighbour"), "neighbour")

    assert small.state == "succeeded"
    reports = [await world.imports.find(ORGANIZATION, begun.import_id) for begun in large]
    assert all(report is not None and report.state == "running" for report in reports)
    await world.importing.stop()


async def test_ended_imports_make_room_for_the_next(world: World) -> None:
    for _ in range(OF_ONE_ORGANIZATION + 2):
        await world.ended(await world.import_())
        await asyncio.sleep(0)

    assert not world.importing._running


async def test_an_import_that_takes_too_long_ends_and_says_so() -> None:
    world = World()
    world.importing = Importing(
        world.articles, world.imports, NoPublishing(), HereReader(), checked_row, at_most=timedelta(milliseconds=50)
    )

    report = await world.ended(await world.import_(100_000))

    assert (report.state, report.errors[0].code) == ("failed", "too_slow")


async def test_a_foreign_import_is_not_there(world: World) -> None:
    begun = await world.import_()
    await world.ended(begun)

    with pytest.raises(ImportNotFound):
        await world.importing.get_import("another organization", begun.import_id)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection of garbage: it would walk all that thousands of tests have left, which no service has."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_the_loop_is_free_while_an_import_runs(world: World) -> None:
    begun = await world.import_(5_000)
    longest, last = 0.0, time.thread_time()
    while (report := await world.imports.find(ORGANIZATION, begun.import_id)) and report.state == "running":
        await asyncio.sleep(0)
        # CPU of this thread, not time: how busy the machine is makes no turn of the loop longer
        longest, last = max(longest, time.thread_time() - last), time.thread_time()

    assert longest < 0.05


async def test_a_row_that_is_known_already_changes_nothing_and_one_that_differs_makes_a_version(world: World) -> None:
    text = ArticleText("One?", "1", ("uno",), ("t",), "de", "e-1")
    at = now()
    kept = Article(new_id(), 3, text, at, at)
    await world.articles.put(ORGANIZATION, kept)
    rows = [
        {"question": "One?", "answer": "1", "alternatives": ["uno"], "tags": ["t"], "external_id": "e-1"},
        {"question": "Two?", "answer": "2"},
        {"question": " TWO? ", "answer": "2"},
        {"question": "renamed", "answer": "1", "external_id": "e-1"},
        {"question": "Two?", "answer": "2", "external_id": "e-2"},
    ]
    begun = await world.importing.import_articles(
        ORGANIZATION, Upload("json", orjson.dumps(rows)), publish=False, dry_run=False
    )

    report = await world.ended(begun)

    assert (report.created, report.updated, report.unchanged, report.failed) == (1, 3, 1, 0)
    renamed = await world.articles.find(ORGANIZATION, kept.article_id)
    assert renamed is not None
    assert (renamed.version, renamed.text.question, renamed.text.tags) == (4, "renamed", ("t",))
    assert renamed.created_at == at
