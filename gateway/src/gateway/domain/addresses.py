"""Whose address counts: the peer's, unless the peer is a proxy of ours that says for whom it speaks."""

from ipaddress import IPv6Address, ip_address, ip_network


class ClientAddresses:
    """Believes X-Forwarded-For from the configured proxies alone, and only as far as they reach."""

    def __init__(self, trusted: str = "") -> None:
        self._networks = [ip_network(part.strip(), strict=False) for part in trusted.split(",") if part.strip()]

    def of(self, peer: str, forwarded_for: bytes | None) -> str:
        """The address of the client behind a connection from `peer`."""
        if not self._networks or forwarded_for is None or not self._is_trusted(peer):
            return peer
        for hop in reversed(forwarded_for.decode("latin-1").split(",")):
            address = hop.strip()
            if not _is_address(address):
                return peer
            if not self._is_trusted(address):
                return address
        return peer

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in network for network in self._networks)


def limit_key(address: str) -> str:
    """What a limit counts by: an IPv4 address, or the network that one IPv6 customer gets."""
    if ":" not in address:
        return address
    parsed = ip_address(address.partition("%")[0])
    assert isinstance(parsed, IPv6Address)  # noqa: S101 - it has a colon
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
