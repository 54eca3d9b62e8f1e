from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from notification_service.domain.inbox import Place


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**64 - 1))
def test_a_place_and_its_id_are_the_same_thing(milliseconds: int, sequence: int) -> None:
    place = Place(milliseconds, sequence)

    assert Place.of(place.id) == place
    assert place.id.version == 7


@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_ids_sort_like_places(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (Place(*one) < Place(*other)) == (Place(*one).id < Place(*other).id)


def test_an_id_of_another_kind_is_no_place() -> None:
    assert Place.of(uuid4()) is None
    assert Place.of(UUID(int=0)) is None
