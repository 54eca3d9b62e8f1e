"""Whose address counts."""

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


def test_limits_count_the_network_that_one_ipv6_customer_gets() -> None:
    assert limit_key("2001:db8:1:2:3::4") == limit_key("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert limit_key("::ffff:203.0.113.9") == limit_key("203.0.113.9") == "203.0.113.9"
