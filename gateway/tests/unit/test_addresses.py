"""Whose address counts."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.addresses import ClientAddresses, limit_key


def test_without_a_proxy_the_peer_counts_whatever_is_claimed() -> None:
    assert ClientAddresses("").of("198.51.100.7", b"203.0.113.9") == "198.51.100.7"


def test_a_strangers_claim_does_not_count() -> None:
    assert ClientAddresses("10.0.0.0/8").of("198.51.100.7", b"203.0.113.9") == "198.51.100.7"


def test_a_proxy_is_believed_as_far_as_our_proxies_reach() -> None:
    addresses = ClientAddresses("10.0.0.0/8, ::1")

    assert addresses.of("10.0.0.1", b"1.1.1.1, 203.0.113.9, 10.0.0.2") == "203.0.113.9"
    assert addresses.of("10.0.0.1", b"1.1.1.1, nonsense") == "10.0.0.1"
    assert addresses.of("::1", b"2001:db8::1") == "2001:db8::1"
    assert addresses.of("10.0.0.1", None) == "10.0.0.1"


@pytest.mark.parametrize(
    ("claimed", "address"),
    [
        (b"2001:db8::1", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"[2001:db8::1]:4711", "2001:db8::1"),
        (b"2001:DB8:0::0001", "2001:db8::1"),
        (b"203.0.113.9:4711", "203.0.113.9"),
        (b" 203.0.113.9 ", "203.0.113.9"),
        (b"::ffff:203.0.113.9", "203.0.113.9"),
        (b"fe80::1%eth0", "fe80::1"),
    ],
)
def test_every_way_in_which_proxies_write_an_address_is_read(claimed: bytes, address: str) -> None:
    assert ClientAddresses("10.0.0.1").of("10.0.0.1", claimed) == address


@pytest.mark.parametrize("claimed", [b"", b"unknown", b"[2001:db8::1", b"203.0.113.9:port", b"1.2.3.4.5", b"_hidden"])
def test_what_is_no_address_counts_as_the_proxy_itself(claimed: bytes) -> None:
    assert ClientAddresses("10.0.0.1").of("10.0.0.1", b"198.51.100.7, " + claimed) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (b"for=203.0.113.9", "203.0.113.9"),
        (b'For="[2001:db8::1]:4711";proto=https;by=10.0.0.1', "2001:db8::1"),
        (b"for=6.6.6.6, proto=https;for=203.0.113.9, for=10.0.0.1", "203.0.113.9"),
        (b"for=unknown", "10.0.0.1"),
        (b"proto=https", "10.0.0.1"),
    ],
)
def test_the_standard_header_of_proxies_is_read_where_the_usual_one_is_absent(forwarded: bytes, address: str) -> None:
    addresses = ClientAddresses("10.0.0.1")

    assert addresses.of("10.0.0.1", None, forwarded) == address
    assert addresses.of("10.0.0.1", b"198.51.100.7", forwarded) == "198.51.100.7"
    assert addresses.of("198.51.100.9", None, forwarded) == "198.51.100.9"


def test_a_proxy_seen_through_a_socket_for_both_families_is_the_same_proxy() -> None:
    assert ClientAddresses("10.0.0.0/8").of("::ffff:10.0.0.1", b"203.0.113.9") == "203.0.113.9"


def test_a_peer_without_an_address_is_left_as_it_is() -> None:
    assert ClientAddresses("10.0.0.0/8").of("", b"203.0.113.9") == ""


@given(st.text(max_size=60))
def test_whatever_a_proxy_writes_the_address_is_one(claimed: str) -> None:
    address = ClientAddresses("10.0.0.1").of("10.0.0.1", claimed.encode("utf-8", "surrogatepass"))

    assert ip_address(address)


def test_limits_count_the_network_that_one_ipv6_customer_gets() -> None:
    assert limit_key("2001:db8:1:2:3::4") == limit_key("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert limit_key("2001:db8:1:2::1") != limit_key("2001:db8:1:3::1")
    assert limit_key("fe80::1%eth0") == "fe80::/64"
    assert limit_key("not an address: at all") == "not an address: at all"
    assert limit_key("::ffff:203.0.113.9") == limit_key("203.0.113.9") == "203.0.113.9"
