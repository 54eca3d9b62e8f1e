"""Files in multipart bodies."""

import contextlib
import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_service.routes.multipart import FilePart, NotMultipart, files_of


def encoded(*files: tuple[str, tuple[str, bytes, str]], fields: dict[str, str] | None = None) -> tuple[str, bytes]:
    request = httpx2.Request("POST", "http://here", files=list(files), data=fields or {})
    return request.headers["content-type"], request.read()


@given(st.binary(max_size=2_000))
def test_any_content_comes_back_whole(content: bytes) -> None:
    content_type, body = encoded(("file", ("a.csv", content, "text/csv")), fields={"note": "x"})

    assert list(files_of(content_type, body)) == [FilePart("file", "a.csv", "text/csv", content)]


def test_several_files_come_in_their_order_and_fields_are_left_out() -> None:
    content_type, body = encoded(("a", ("1", b"one", "x/y")), ("b", ("2", b"two", "x/y")), fields={"c": "three"})

    assert [(part.field, part.content) for part in files_of(content_type, body)] == [("a", b"one"), ("b", b"two")]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"nothing of it"),
        ("multipart/form-data; boundary=x", b"--x\r\nno end of head"),
        ("multipart/form-data; boundary=x", b"--x\r\na: b\r\n\r\nno end"),
        ("multipart/form-data; boundary=x", b"--x\r\na: b\r\n\r\nc" * 30),
    ],
)
def test_what_is_not_multipart_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(NotMultipart):
        list(files_of(content_type, body))


@given(st.binary(max_size=300))
def test_no_body_crashes_it(body: bytes) -> None:
    with contextlib.suppress(NotMultipart):
        list(files_of("multipart/form-data; boundary=x", b"--x\r\n" + body))


@pytest.mark.parametrize("unit", [b"\r\n", b"\r\n-", b"-", b"\r\n--" + b"0" * 31])
def test_ten_megabytes_of_anything_take_less_than_a_tenth_of_a_second(unit: bytes) -> None:
    content_type, body = encoded(("file", ("a.csv", unit * (10 * 2**20 // len(unit)), "text/csv")))

    began = time.process_time()
    assert len(list(files_of(content_type, body))) == 1
    assert time.process_time() - began < 0.1
