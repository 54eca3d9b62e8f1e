import pytest

from shared.bodies import MAX_DEPTH, parse_json
from shared.errors import InvalidRequest, MalformedRequest


def test_plain_json_is_read_as_it_is() -> None:
    assert parse_json(b'{"message": "caf\xc3\xa9 [\\"{", "n": [1, 2.5, null, true]}') == {
        "message": 'café ["{',
        "n": [1, 2.5, None, True],
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"message":NaN}',
        b'{"message":-Infinity}',
        b'{"message":1e999}',
        b'{"n":123456789012345678901234567890}',
        b'{"a":1,"a":2}',
        b"\xff\xfe",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"",
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_json(raw)


def test_brackets_inside_strings_are_not_depth() -> None:
    assert parse_json(b'{"message": "' + b"[" * 100 + b'"}') == {"message": "[" * 100}


def test_a_lone_surrogate_is_a_bad_value() -> None:
    with pytest.raises(InvalidRequest):
        parse_json(b'{"message":"\\ud800"}')


def test_a_surrogate_pair_is_text() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
