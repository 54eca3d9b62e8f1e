"""The head of a request, field by field, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidTarget
from gateway.server import head
from shared.errors import InvalidHost, MalformedRequest


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"http://api.example:8000/health", b"/health"),
        (b"HTTP://API.example:8000/health?x=1", b"/health?x=1"),
        (b"https://api.example:8000/chat/sessions", b"/chat/sessions"),
        (b"http://api.example:8000", b"/"),
        (b"http://api.example:8000?x=1", b"/?x=1"),
        (b"/health", b"/health"),
    ],
)
def test_an_absolute_target_that_names_our_host_is_its_path(target: bytes, origin: bytes) -> None:
    assert head.origin_form(target, b"api.example:8000") == origin


@pytest.mark.parametrize(("named", "host"), [(b"a.example:80", b"a.example"), (b"a.example", b"a.example:443")])
def test_a_default_port_may_be_left_out(named: bytes, host: bytes) -> None:
    assert head.origin_form(b"http://" + named + b"/x", host) == b"/x"


@pytest.mark.parametrize(
    "target",
    [
        b"http://other.example/health",
        b"http://user@api.example/health",
        b"http://api.example:8001/health",
        b"http:///health",
        b"ftp://api.example/health",
        b"http://api.example.evil/health",
    ],
)
def test_an_absolute_target_of_somebody_else_stays_invalid(target: bytes) -> None:
    fields = {b"host": b"api.example"}

    assert isinstance(head.refusal(head.origin_form(target, b"api.example"), fields), InvalidTarget)


def test_an_absolute_target_without_a_host_header_is_refused() -> None:
    target = head.origin_form(b"http://a/health", None)

    assert isinstance(head.refusal(target, {}), InvalidHost)


def test_http_1_0_needs_no_host_and_http_1_1_does() -> None:
    assert head.refusal(b"/health", {}, "1.0") is None
    assert isinstance(head.refusal(b"/health", {}, "1.1"), InvalidHost)
    assert isinstance(head.refusal(b"/health", {b"host": b"a b"}, "1.0"), InvalidHost)


def test_a_list_that_comes_in_two_lines_is_one_list() -> None:
    fields, refused = head.read([(b"x-forwarded-for", b"6.6.6.6"), (b"accept", b"a"), (b"x-forwarded-for", b"7.7.7.7")])

    assert refused is None
    assert fields == {b"x-forwarded-for": b"6.6.6.6, 7.7.7.7", b"accept": b"a"}


@pytest.mark.parametrize("name", sorted(head.SINGLE))
def test_what_may_come_once_may_not_come_twice(name: bytes) -> None:
    _, refused = head.read([(name, b"1"), (name, b"1")])

    assert isinstance(refused, InvalidHost if name == b"host" else MalformedRequest)


@pytest.mark.parametrize(
    ("length", "encoding", "is_fine"),
    [
        (b"0", None, True),
        (b"999999999999999", None, True),
        (b"1000000000000000", None, False),
        (b"", None, False),
        (b"1e3", None, False),
        (b"\xb2", None, False),
        (None, b"chunked", True),
        (None, b"Chunked", True),
        (None, b"gzip, chunked", False),
        (b"4", b"chunked", False),
    ],
)
def test_a_body_has_one_end(length: bytes | None, encoding: bytes | None, is_fine: bool) -> None:
    assert (head.framing_refusal(length, encoding) is None) == is_fine


def test_the_size_of_a_head_counts_names_values_and_their_separators() -> None:
    assert head.size(b"/abc", [(b"host", b"a"), (b"x", b"")]) == 4 + (4 + 1 + 4) + (1 + 0 + 4)


@given(st.binary(max_size=60))
def test_no_target_is_taken_that_is_not_a_plain_path(target: bytes) -> None:
    found = head.origin_form(target, b"a")

    if head.refusal(found, {b"host": b"a"}) is None:
        assert found.startswith(b"/")
        assert found.isascii()
        assert not set(found) & set(b" \r\n\0#")
