"""Whose address counts: the peer's, unless the peer is a proxy of ours that says for whom it speaks."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
"""What some proxies write: `[2001:db8::1]:443`, `[2001:db8::1]`, `203.0.113.9:443`."""
FOR = re.compile(r"""(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]+)""", re.IGNORECASE)


class ClientAddresses:
    """Believes X-Forwarded-For, else Forwarded (RFC 7239), from the configured proxies, as far as they reach."""

    def __init__(self, trusted: str = "") -> None:
        self._networks = [ip_network(part.strip(), strict=False) for part in trusted.split(",") if part.strip()]

    def of(self, peer: str, forwarded_for: bytes | None, forwarded: bytes | None = None) -> str:
        """The address of the client behind a connection from `peer`."""
        own = _parse(peer)
        if own is None:
            return peer
        if not self._networks or not self._is_trusted(own):
            return str(own)
        for hop in reversed(_hops(forwarded_for, forwarded)):
            address = _parse(hop)
            if address is None:
                return str(own)
            if not self._is_trusted(address):
                return str(address)
        return str(own)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def limit_key(address: str) -> str:
    """What a limit counts by: an IPv4 address, or the network that one IPv6 customer gets."""
    if ":" not in address:
        return address
    parsed = _parse(address)
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed or address)


def _hops(forwarded_for: bytes | None, forwarded: bytes | None) -> list[str]:
    """Every address that was noted on the way, the nearest one last."""
    if forwarded_for is not None:
        return forwarded_for.decode("latin-1").split(",")
    if forwarded is None:
        return []
    found = [FOR.search(element) for element in forwarded.decode("latin-1").split(",")]
    return [each[1].strip('"') if each else "" for each in found]


def _parse(text: str) -> Address | None:
    """An address with or without port, brackets and zone; IPv4 within IPv6 is IPv4."""
    text = text.strip()
    found = WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found[1] or found[2]) if found else text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
