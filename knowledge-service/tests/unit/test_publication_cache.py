"""Which indexes stay in memory."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from knowledge_service.domain.publication_cache import PublicationCache
from shared.ids import new_id

QUICK = timedelta(milliseconds=10)
SLOW = timedelta(seconds=10)


def with_small_ones(count: int, *, bound: int = 100, now: float = 0) -> tuple[PublicationCache[str], dict[str, UUID]]:
    cache: PublicationCache[str] = PublicationCache(bound)
    ids = {f"small {number}": new_id() for number in range(count)}
    for name, publication in ids.items():
        cache.put(name, publication, name, size=1, took=QUICK, now=now)
    return cache, ids


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache, ids = with_small_ones(3, bound=4)
    assert cache.find("small 0", ids["small 0"]) == "small 0"

    gone = cache.put("new", new_id(), "new", size=2, took=QUICK, now=100)

    assert gone == ["small 1"]


def test_a_giant_evicts_nobody_but_another_giant() -> None:
    cache, ids = with_small_ones(100)

    assert cache.put("giant", new_id(), "giant", size=1_000, took=SLOW, now=1) == []
    gone = cache.put("next giant", new_id(), "next giant", size=60, took=SLOW, now=500)

    assert gone == ["giant"]
    assert all(cache.find(name, publication) == name for name, publication in ids.items())


def test_giants_that_take_turns_are_not_built_more_often_than_their_building_is_worth() -> None:
    cache: PublicationCache[str] = PublicationCache(100)
    ids = {"one": new_id(), "other": new_id()}
    builds = 0

    for second in range(120):
        for name, publication in ids.items():
            if cache.find(name, publication) is None and cache.wait_for(name, 90, second) is None:
                cache.put(name, publication, name, size=90, took=SLOW, now=second)
                builds += 1

    assert builds == 2, "two minutes, and ten seconds of building are worth a hundred"


def test_whoever_must_wait_is_told_how_long() -> None:
    cache: PublicationCache[str] = PublicationCache(100)
    cache.put("one", new_id(), "one", size=90, took=SLOW, now=0)

    assert cache.wait_for("other", 90, 40) == timedelta(seconds=60)
    assert cache.wait_for("other", 90, 100) is None
    assert cache.wait_for("one", 90, 1) is None, "its own next publication takes its own place"
    assert cache.wait_for("small", 10, 1) is None


def test_the_next_publication_takes_the_place_of_the_former() -> None:
    cache: PublicationCache[str] = PublicationCache(100)
    first, second = new_id(), new_id()
    cache.put("o", first, "first", size=40, took=SLOW, now=0)

    assert cache.put("o", second, "second", size=45, took=SLOW, now=1) == ["first"]
    assert cache.find("o", first) is None
    assert cache.find("o", second) == "second"
    assert cache.size == 45


def test_one_that_grows_into_a_giant_leaves_nothing_behind() -> None:
    cache: PublicationCache[str] = PublicationCache(100)
    cache.put("o", new_id(), "small", size=40, took=QUICK, now=0)

    assert cache.put("o", new_id(), "giant", size=90, took=QUICK, now=1) == ["small"]
    assert cache.size == 0
    assert cache.forget("o") == ["giant"]
    assert cache.forget("o") == []


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(1, 200), st.floats(0, 20), st.floats(0, 5)), min_size=1, max_size=80
    )
)
def test_the_bound_holds_and_the_newest_is_always_there(asked: list[tuple[int, int, float, float]]) -> None:
    cache: PublicationCache[int] = PublicationCache(100)
    now = 0.0
    for number, (owner, size, took, pause) in enumerate(asked):
        now += pause
        publication = new_id()
        cache.put(str(owner), publication, number, size=size, took=timedelta(seconds=took), now=now)

        assert cache.size <= 100
        assert cache.find(str(owner), publication) == number


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 200), st.integers(0, 5)), min_size=1, max_size=80))
def test_who_waits_as_told_evicts_nobody_whose_time_is_not_up(asked: list[tuple[int, int, int]]) -> None:
    cache: PublicationCache[tuple[str, float]] = PublicationCache(100)
    now = 0.0
    for owner, size, took in asked:
        wait = cache.wait_for(str(owner), size, now)
        if wait is not None:
            now += wait.total_seconds() + 1e-6
        if cache.wait_for(str(owner), size, now) is not None:
            continue
        built = (str(owner), now + 10 * took)
        gone = cache.put(str(owner), new_id(), built, size=size, took=timedelta(seconds=took), now=now)
        assert all(other == str(owner) or until <= now for other, until in gone)
