"""Imports in the background: what is counted, what is waited for, what is said when a process dies."""

import asyncio
import time
from datetime import timedelta

import pytest

from knowledge_service.domain import importing
from knowledge_service.domain.articles import now
from knowledge_service.domain.import_files import rows_of
from knowledge_service.domain.importing import LOST, RUNNING, WAITING, Import, Importing, ImportNotFound
from knowledge_service.domain.publications import Publication
from knowledge_service.routes.imports import checked_row
from knowledge_service.testing import InMemoryArticles, InMemoryImports, Outage
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
        self.importing = Importing(self.articles, self.imports, NoPublishing(), checked_row)

    async def import_(self, count: int = 3, *, publish: bool = False) -> Import:
        rows = [{"question": f"Question {n}?", "answer": "So."} for n in range(count)]
        return await self.importing.import_articles(ORGANIZATION, lambda: rows_of(rows), publish=publish, dry_run=False)

    async def ended(self, begun: Import) -> Import:
        for _ in range(500):
            report = await self.imports.find(ORGANIZATION, begun.import_id)
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


async def test_too_many_imports_at_once_are_shed(world: World) -> None:
    for _ in range(RUNNING + WAITING):
        await world.import_(10_000)

    with pytest.raises(Overloaded):
        await world.import_()
    await world.importing.stop()


async def test_a_foreign_import_is_not_there(world: World) -> None:
    begun = await world.import_()
    await world.ended(begun)

    with pytest.raises(ImportNotFound):
        await world.importing.get_import("another organization", begun.import_id)


async def test_the_loop_is_free_while_an_import_runs(world: World) -> None:
    begun = await world.import_(5_000)
    longest, last = 0.0, time.thread_time()
    while (report := await world.imports.find(ORGANIZATION, begun.import_id)) and report.state == "running":
        await asyncio.sleep(0)
        # CPU of this thread, not time: how busy the machine is makes no turn of the loop longer
        longest, last = max(longest, time.thread_time() - last), time.thread_time()

    assert longest < 0.2
