"""Compressed documents: who gets them, and how they are recognized."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routes.variants import is_known, takes_gzip, variants


@pytest.mark.parametrize(
    "header",
    [b"gzip", b"gzip, deflate, br", b"br, GZIP", b"x-gzip", b"*", b"deflate, *;q=0.1", b"gzip;q=0.001", b"gzip ; q=1"],
)
def test_who_takes_gzip_gets_it(header: bytes) -> None:
    assert takes_gzip(header)


@pytest.mark.parametrize(
    "header",
    [None, b"", b"identity", b"br", b"gzip;q=0", b"gzip;q=0.000", b"*;q=0", b"gzip;q=0, *", b"gzip;q=x", b"??"],
)
def test_who_does_not_take_gzip_never_gets_it(header: bytes | None) -> None:
    assert not takes_gzip(header)


def test_both_variants_say_the_same_and_have_tags_of_their_own() -> None:
    document = variants(b"a document " * 1000)

    assert gzip.decompress(document.zipped) == document.plain
    assert len(document.zipped) < len(document.plain) / 10
    assert document.tag_of(is_zipped=True) != document.tag_of(is_zipped=False)


def test_the_same_document_has_the_same_tag_on_every_replica_and_another_one_another() -> None:
    assert variants(b"a") == variants(b"a")
    assert variants(b"a").tag != variants(b"b").tag


@pytest.mark.parametrize("header", [b'"t"', b'W/"t"', b'"s", "t"', b"*"])
def test_a_client_that_has_the_document_says_so(header: bytes) -> None:
    assert is_known(header, b'"t"')


@pytest.mark.parametrize("header", [None, b"", b'"s"', b"t"])
def test_a_client_that_has_another_one_gets_it(header: bytes | None) -> None:
    assert not is_known(header, b'"t"')


@given(st.binary(max_size=60))
def test_whatever_a_client_sends_it_is_read(header: bytes) -> None:
    assert takes_gzip(header) in (True, False)
    assert is_known(header, b'"t"') in (True, False)
