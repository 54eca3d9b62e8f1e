import pytest

from shared.cursors import Cursors
from shared.errors import InvalidCursor

CURSORS = Cursors(b"k" * 32)


def test_a_cursor_brings_its_position_back() -> None:
    assert CURSORS.read("sessions:o:u", CURSORS.make("sessions:o:u", [1, "x"])) == [1, "x"]


@pytest.mark.parametrize("cursor", ["", "zzz", "é", "A" * 5_000, "////", "a=b"])
def test_what_we_did_not_make_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.read("sessions:o:u", cursor)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.read("sessions:o:someone-else", CURSORS.make("sessions:o:u", 1))


def test_a_cursor_under_another_key_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.read("s", Cursors(b"other" * 8).make("s", 1))
