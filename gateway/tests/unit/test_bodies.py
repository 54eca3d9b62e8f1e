"""Refusals of a body name what the route takes instead."""

import pytest

from gateway.app import ROUTES
from gateway.routes.bodies import check_body, too_large
from gateway.routes.table import Route
from shared.errors import BodyTooLarge, UnsupportedMediaType

BY_OPERATION = {route.operation: route for route in ROUTES}
MESSAGE = BY_OPERATION["send_message"]
IMPORT = BY_OPERATION["import_articles"]


def headers(content_type: str | None, **others: str) -> dict[bytes, bytes]:
    known = {"content_length": "2"} | ({} if content_type is None else {"content_type": content_type}) | others
    return {name.replace("_", "-").encode(): value.encode() for name, value in known.items()}


def refused(route: Route, content_type: str | None, **others: str) -> UnsupportedMediaType:
    with pytest.raises(UnsupportedMediaType) as found:
        check_body(headers(content_type, **others), route)
    return found.value


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/merge-patch+json",
        " application/json ; foo=bar",
    ],
)
def test_json_is_taken_in_every_way_it_is_written(content_type: str) -> None:
    assert check_body(headers(content_type), MESSAGE) == b"2"


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "text/csv", "multipart/form-data; boundary=x"])
def test_another_type_is_refused_with_the_one_that_is_taken(content_type: str | None) -> None:
    error = refused(MESSAGE, content_type)

    assert error.detail == "Send the body as application/json."
    assert error.headers["Accept"] == "application/json"


def test_where_files_are_taken_the_refusal_says_so() -> None:
    error = refused(IMPORT, "text/csv")

    assert "application/json or multipart/form-data" in error.detail
    assert error.headers["Accept"] == "application/json, multipart/form-data"
    assert check_body(headers("multipart/form-data; boundary=x"), IMPORT)


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity"])
def test_a_compressed_body_is_refused_for_being_compressed(coding: str) -> None:
    error = refused(MESSAGE, "application/json", content_encoding=coding)

    assert "compressed" in error.detail
    assert error.headers["Accept-Encoding"] == "identity"
    assert check_body(headers("application/json", content_encoding="identity"), MESSAGE)


@pytest.mark.parametrize("charset", ["latin-1", "iso-8859-1", "utf-16", "windows-1252"])
def test_json_in_another_encoding_is_refused_for_its_encoding(charset: str) -> None:
    assert "UTF-8" in refused(MESSAGE, f"application/json; charset={charset}").detail


def test_a_body_that_is_too_large_is_told_the_limit() -> None:
    with pytest.raises(BodyTooLarge) as found:
        check_body(headers("application/json", content_length="1048577"), MESSAGE)

    assert "1048576 bytes" in found.value.detail
    assert str(IMPORT.max_body) in too_large(IMPORT).detail


def test_without_a_body_there_is_nothing_to_check() -> None:
    assert check_body({}, MESSAGE) is None
    assert check_body({b"content-length": b"0", b"content-type": b"text/plain"}, MESSAGE) is None
    assert check_body({b"transfer-encoding": b"chunked", b"content-type": b"application/json"}, MESSAGE) == b"chunked"
