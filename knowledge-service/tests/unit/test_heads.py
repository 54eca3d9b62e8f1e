"""The rule of which publication is current."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from knowledge_service.domain.heads import Known, source
from knowledge_service.domain.publications import Publication
from shared.ids import new_id


def publication(epoch: int) -> Publication:
    return Publication("o", epoch, new_id(), datetime(2026, 1, 1, tzinfo=UTC), 1, 1, "d")


PUBLICATIONS = [publication(epoch) for epoch in range(1, 6)]
HEADS = st.sampled_from([None, *PUBLICATIONS])
STEPS = st.lists(st.tuples(st.sampled_from(["told", "kept", "installed", "announced"]), HEADS), max_size=30)


def step(known: Known, kind: str, head: Publication | None, at: float) -> Known:
    if kind == "told":
        return known.told(head, at)
    if kind == "kept":
        return known.kept(head)
    if head is None:
        return known
    return known.installed(head, at) if kind == "installed" else known.announced(head.epoch)


@given(STEPS)
def test_the_epoch_never_goes_back_whatever_comes_in_which_order(steps: list[tuple[str, Publication | None]]) -> None:
    known = Known()
    for at, (kind, head) in enumerate(steps):
        before = known.publication.epoch if known.publication else 0
        known = step(known, kind, head, float(at))
        assert (known.publication.epoch if known.publication else 0) >= before


@given(STEPS)
def test_only_the_store_and_our_own_publish_make_it_fresh(steps: list[tuple[str, Publication | None]]) -> None:
    known = Known()
    for at, (kind, head) in enumerate(steps):
        before, known = known, step(known, kind, head, 10.0 * at)
        if known.is_fresh(10.0 * at) and not before.is_fresh(10.0 * at):
            assert kind in {"told", "installed"}


@given(HEADS, st.integers(1, 10))
def test_after_an_announcement_it_has_that_epoch_or_asks(head: Publication | None, epoch: int) -> None:
    known = Known(head, 5.0).announced(epoch)

    assert not known.is_fresh(5.0) or (known.publication is not None and known.publication.epoch >= epoch)


def test_it_is_believed_for_less_than_a_second() -> None:
    known = Known().told(PUBLICATIONS[0], 5.0)

    assert known.is_fresh(5.99)
    assert not known.is_fresh(6.0)


@given(HEADS, st.one_of(st.none(), st.integers(1, 9)), st.booleans())
def test_nobody_who_published_is_answered_for_by_the_starter_base(
    head: Publication | None, announced: int | None, wants_sample: bool
) -> None:
    found = source(head, announced=announced, wants_sample=wants_sample)

    assert (found == "own") == (head is not None)
    if head is None and announced is not None:
        assert found == "unreachable"
    if head is None and announced is None:
        assert found == ("starter" if wants_sample else "nothing")
