"""The stores and their twins keep the same promises."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from knowledge_service.domain.articles import Article, ArticleText, now
from knowledge_service.domain.authoring import ArticleStore
from knowledge_service.domain.current_publications import PublicationStore, Snapshots
from knowledge_service.domain.importing import Import, ImportStore, RowError
from knowledge_service.domain.publications import CHUNK, Publication, digest_of, split
from knowledge_service.settings import KnowledgeSettings
from knowledge_service.store.announcements import RedisAnnouncements
from knowledge_service.store.articles import BUCKETS, CqlArticles
from knowledge_service.store.imports import CqlImports
from knowledge_service.store.publications import CqlPublications
from knowledge_service.store.snapshots import DiskSnapshots
from knowledge_service.testing import (
    InMemoryArticles,
    InMemoryImports,
    InMemoryPublications,
    InMemorySnapshots,
    KnownEpochs,
)
from shared.cql import Cql
from shared.errors import CapabilityUnavailable
from shared.ids import new_id
from shared.redis import RedisStore

BOTH = ["memory", pytest.param("cql", marks=pytest.mark.engines)]


@pytest.fixture
def organization() -> str:
    return str(new_id())


@pytest.fixture(params=BOTH)
def articles(request: pytest.FixtureRequest) -> ArticleStore:
    return InMemoryArticles() if request.param == "memory" else CqlArticles(request.getfixturevalue("cql"))


@pytest.fixture(params=BOTH)
def publications(request: pytest.FixtureRequest) -> PublicationStore:
    return InMemoryPublications() if request.param == "memory" else CqlPublications(request.getfixturevalue("cql"))


@pytest.fixture(params=BOTH)
def imports(request: pytest.FixtureRequest) -> ImportStore:
    return InMemoryImports() if request.param == "memory" else CqlImports(request.getfixturevalue("cql"))


@pytest.fixture(params=["memory", "disk"])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshots:
    return InMemorySnapshots() if request.param == "memory" else DiskSnapshots(tmp_path)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.engines)])
async def announcements(request: pytest.FixtureRequest) -> AsyncIterator[KnownEpochs | RedisAnnouncements]:
    if request.param == "memory":
        yield KnownEpochs()
        return
    settings: KnowledgeSettings = request.getfixturevalue("settings")
    redis = RedisStore(settings.data_url, capability="knowledge")
    yield RedisAnnouncements(redis)
    await redis.close()


def article(question: str = "How?", **text: object) -> Article:
    at = now()
    return Article(new_id(), 1, ArticleText(question, "So.", **text), at, at)  # type: ignore[arg-type] # test data


def publication(organization: str, epoch: int, packed: bytes) -> Publication:
    return Publication(organization, epoch, new_id(), now(), 1, len(split(packed)), digest_of(packed))


async def test_an_article_is_found_as_it_was_put(articles: ArticleStore, organization: str) -> None:
    kept = article(alternatives=("a", "b"), tags=("x",), language="de", external_id="e-1")
    plain = article()

    await articles.put(organization, kept)
    await articles.put(organization, plain)

    assert await articles.find(organization, kept.article_id) == kept
    assert await articles.find(organization, plain.article_id) == plain


async def test_an_external_id_can_be_taken_away(articles: ArticleStore, organization: str) -> None:
    kept = article(external_id="e-1")
    await articles.put(organization, kept)

    await articles.put(organization, kept.changed(replace(kept.text, external_id=None), now()))

    found = await articles.find(organization, kept.article_id)
    assert found is not None
    assert found.text.external_id is None


async def test_another_organization_sees_nothing(articles: ArticleStore, organization: str) -> None:
    kept = article()

    await articles.put(organization, kept)

    other = str(new_id())
    assert await articles.find(other, kept.article_id) is None
    assert await articles.page(other, None, 10) == []
    assert [found async for found in articles.everything(other)] == []
    assert await articles.versions(other, kept.article_id, 10) == []


async def test_pages_come_newest_first_and_miss_nothing(articles: ArticleStore, organization: str) -> None:
    made = [article(f"Question {number}?") for number in range(BUCKETS * 3)]
    for each in made:
        await articles.put(organization, each)

    seen: list[Article] = []
    before: UUID | None = None
    while page := await articles.page(organization, before, 7):
        seen.extend(page)
        before = page[-1].article_id

    assert seen == list(reversed(made))
    assert {found.article_id async for found in articles.everything(organization)} == {a.article_id for a in made}


async def test_every_version_can_be_read_back(articles: ArticleStore, organization: str) -> None:
    first = article()
    second = first.changed(replace(first.text, answer="Otherwise."), now())
    await articles.put(organization, first)
    await articles.put(organization, second)

    versions = await articles.versions(organization, first.article_id, 10)

    assert [(each.version, each.text.answer) for each in versions] == [(2, "Otherwise."), (1, "So.")]


async def test_a_removed_article_is_gone_with_its_versions(articles: ArticleStore, organization: str) -> None:
    kept = article()
    await articles.put(organization, kept)

    await articles.remove(organization, kept.article_id)
    await articles.remove(organization, kept.article_id)

    assert await articles.find(organization, kept.article_id) is None
    assert await articles.page(organization, None, 10) == []
    assert await articles.versions(organization, kept.article_id, 10) == []


async def test_an_epoch_is_taken_once(publications: PublicationStore, organization: str) -> None:
    first, rival = publication(organization, 1, b"first"), publication(organization, 1, b"rival")

    assert await publications.head(organization) is None
    assert await publications.publish(first, b"first")
    assert not await publications.publish(rival, b"rival")

    assert await publications.head(organization) == first
    assert await publications.packed(first) == b"first"
    with pytest.raises(CapabilityUnavailable):
        await publications.packed(rival)


async def test_the_newest_epoch_is_the_head_and_older_ones_can_be_read(
    publications: PublicationStore, organization: str
) -> None:
    large = bytes(range(256)) * (CHUNK // 256 * 2 + 1)
    first, second = publication(organization, 1, large), publication(organization, 2, b"small")

    await publications.publish(first, large)
    await publications.publish(second, b"small")

    assert first.chunks == 3
    assert await publications.head(organization) == second
    assert await publications.packed(first) == large


@pytest.mark.engines
async def test_only_the_last_epochs_are_kept(cql: Cql, organization: str) -> None:
    store = CqlPublications(cql, kept=2)
    made = [publication(organization, epoch, b"x") for epoch in (1, 2, 3)]
    for each in made:
        await store.publish(each, b"x")

    assert await store.get(organization, 1) is None
    assert await store.get(organization, 2) == made[1]
    with pytest.raises(CapabilityUnavailable):
        await store.packed(made[0])


async def test_a_report_is_found_as_it_was_saved(imports: ImportStore, organization: str) -> None:
    begun = Import(new_id(), "running", dry_run=False, created_at=now(), seen_at=now())
    ended = replace(begun, state="succeeded", total=3, created=1, failed=2, errors=(RowError(2, "x", "y"),), epoch=4)
    await imports.save(organization, begun)
    assert await imports.find(organization, begun.import_id) == begun

    await imports.save(organization, ended)

    assert await imports.find(organization, begun.import_id) == ended
    assert await imports.find(str(new_id()), begun.import_id) is None


async def test_a_snapshot_is_loaded_as_it_was_saved_and_the_newest_replaces(
    snapshots: Snapshots, organization: str
) -> None:
    first, second = publication(organization, 1, b"first"), publication(organization, 2, b"second")
    assert snapshots.load(organization) is None

    snapshots.save(first, b"first")
    assert snapshots.load(organization) == (first, b"first")
    snapshots.save(second, b"second")

    assert snapshots.load(organization) == (second, b"second")
    assert snapshots.load(str(new_id())) is None


async def test_the_last_epoch_announced_is_remembered_for_each_organization(
    announcements: KnownEpochs | RedisAnnouncements, organization: str
) -> None:
    other = str(new_id())
    assert await announcements.announced(organization) is None

    await announcements.announce(organization, 1)
    await announcements.announce(organization, 2)
    await announcements.announce(other, 7)

    assert await announcements.announced(organization) == 2
    assert await announcements.announced(other) == 7
