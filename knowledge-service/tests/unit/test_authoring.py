"""What editors do with articles, over twins of the stores."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_service.domain.articles import ArticleText
from knowledge_service.domain.authoring import SCANNED, ArticleNotFound, Authoring, Filters, Listed
from knowledge_service.testing import InMemoryArticles, Outage
from shared.errors import CapabilityUnavailable
from shared.ids import new_id

ORGANIZATION = "an organization"
EVERYTHING = Filters()


class Published:
    """The versions that answer, as if they had been published."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.asked: list[int] = []

    async def __call__(self, _organization_id: str, article_ids: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(len(article_ids))
        return {each: self.versions[each] for each in article_ids if each in self.versions}


class World:
    def __init__(self) -> None:
        self.outage = Outage()
        self.published = Published()
        self.authoring = Authoring(InMemoryArticles(self.outage), self.published)

    async def draft(self, question: str = "How?", answer: str = "So.", **text: object) -> Listed:
        given = ArticleText(question, answer, **text)  # type: ignore[arg-type]  # test data
        return await self.authoring.draft_article(ORGANIZATION, given)

    async def all(self, filters: Filters = EVERYTHING, limit: int = 7) -> list[Listed]:
        found: list[Listed] = []
        before: UUID | None = None
        while True:
            page, before = await self.authoring.list_articles(ORGANIZATION, filters, before, limit)
            assert len(page) <= limit
            found += page
            if before is None:
                return found


@pytest.fixture
def world() -> World:
    return World()


async def test_a_draft_is_version_one_and_answers_nothing(world: World) -> None:
    draft = await world.draft()

    assert (draft.article.version, draft.status, draft.published_version) == (1, "draft", None)
    assert await world.authoring.get_article(ORGANIZATION, draft.article.article_id) == draft


async def test_an_article_is_published_while_its_current_version_answers(world: World) -> None:
    draft = await world.draft()
    article_id = draft.article.article_id
    world.published.versions[str(article_id)] = 1

    assert (await world.authoring.get_article(ORGANIZATION, article_id)).status == "published"
    changed = await world.authoring.change_article(ORGANIZATION, article_id, {"answer": "Otherwise."})

    assert (changed.article.version, changed.status, changed.published_version) == (2, "draft", 1)


async def test_a_change_that_changes_nothing_makes_no_version(world: World) -> None:
    draft = await world.draft()

    same = await world.authoring.change_article(ORGANIZATION, draft.article.article_id, {"answer": "So."})

    assert same.article == draft.article


async def test_every_version_is_listed_newest_first_with_the_day_the_article_was_made(world: World) -> None:
    draft = await world.draft()
    article_id = draft.article.article_id
    world.published.versions[str(article_id)] = 2
    for answer in ("One.", "Two."):
        await world.authoring.change_article(ORGANIZATION, article_id, {"answer": answer})

    versions = await world.authoring.list_versions(ORGANIZATION, article_id, 10)

    assert [(each.article.version, each.article.text.answer) for each in versions] == [
        (3, "Two."),
        (2, "One."),
        (1, "So."),
    ]
    assert [each.status for each in versions] == ["draft", "published", "draft"]
    assert {each.article.created_at for each in versions} == {draft.article.created_at}


@pytest.mark.parametrize("action", ["get", "change", "delete", "versions"])
async def test_what_is_not_there_or_belongs_to_others_is_not_found(world: World, action: str) -> None:
    foreign = (await world.authoring.draft_article("another", ArticleText("How?", "So."))).article.article_id
    do = {
        "get": world.authoring.get_article,
        "change": lambda owner, each: world.authoring.change_article(owner, each, {"answer": "x"}),
        "delete": world.authoring.delete_article,
        "versions": lambda owner, each: world.authoring.list_versions(owner, each, 10),
    }[action]

    for article_id in (new_id(), foreign):
        with pytest.raises(ArticleNotFound):
            await do(ORGANIZATION, article_id)  # type: ignore[operator]  # each takes these two


async def test_a_deleted_article_is_gone(world: World) -> None:
    draft = await world.draft()

    await world.authoring.delete_article(ORGANIZATION, draft.article.article_id)

    assert await world.all() == []
    with pytest.raises(ArticleNotFound):
        await world.authoring.get_article(ORGANIZATION, draft.article.article_id)


async def test_a_list_pages_through_everything_newest_first(world: World) -> None:
    made = [await world.draft(f"Question {number}?") for number in range(40)]

    assert [each.article for each in await world.all()] == [each.article for each in reversed(made)]


async def test_a_page_asks_for_the_published_versions_of_its_own_articles_alone(world: World) -> None:
    for number in range(40):
        await world.draft(f"Question {number}?")

    await world.authoring.list_articles(ORGANIZATION, Filters(), None, 5)

    assert sum(world.published.asked) <= 6


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(tag="billing"), ["Cost?"]),
        (Filters(q="  COST"), ["Cost?", "Free?"]),
        (Filters(q="nothing of it"), []),
        (Filters(status="published"), ["Free?"]),
        (Filters(status="draft"), ["Cost?", "Other?"]),
        (Filters(status="draft", q="cost", tag="billing"), ["Cost?"]),
    ],
)
async def test_filters_let_through_what_they_name(world: World, filters: Filters, expected: list[str]) -> None:
    await world.draft("Cost?", tags=("billing",))
    free = await world.draft("Free?", alternatives=("does it cost anything",))
    await world.draft("Other?")
    world.published.versions[str(free.article.article_id)] = 1

    assert sorted(each.article.text.question for each in await world.all(filters)) == expected


async def test_a_filter_that_finds_nothing_stops_looking_and_says_where_to_go_on(world: World) -> None:
    for number in range(SCANNED + 50):
        await world.draft(f"Question {number}?")

    found, then = await world.authoring.list_articles(ORGANIZATION, Filters(tag="none"), None, 5)

    assert found == []
    assert then is not None
    assert await world.all(Filters(tag="none")) == []


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 9))
async def test_a_filtered_list_misses_nothing_and_repeats_nothing(tagged: list[bool], limit: int) -> None:
    world = World()
    made = [await world.draft(f"{number}?", tags=("t",) if has else ()) for number, has in enumerate(tagged)]

    found = await world.all(Filters(tag="t"), limit)

    expected = [each.article for each, has in zip(made, tagged, strict=True) if has]
    assert [each.article for each in found] == list(reversed(expected))


async def test_without_the_store_nothing_can_be_edited(world: World) -> None:
    world.outage.on = True

    with pytest.raises(CapabilityUnavailable):
        await world.draft()
    with pytest.raises(CapabilityUnavailable):
        await world.authoring.list_articles(ORGANIZATION, Filters(), None, 5)
