"""What the head of a request must look like before anything else of it is believed."""

import re
from collections.abc import Mapping, Sequence

from gateway.domain.errors import InvalidTarget
from shared.errors import InvalidHost, MalformedRequest, ServiceError

Headers = Sequence[tuple[bytes, bytes]]

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 64

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?\.?)(?::[0-9]{1,5})?")
TARGET = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*(?:\?[!\"$-~]*)?")
ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
DEFAULT_PORT = re.compile(rb":(?:80|443)?\Z")
SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"idempotency-key"}
)
"""Fields that two parties could read differently when they come twice."""


def read(headers: Headers) -> tuple[dict[bytes, bytes], ServiceError | None]:
    """Each field by its lower-case name, and the refusal if one that may not comes twice.

    Others that come twice are one list: a proxy adds a line of its own below what the client claims.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in found:
            found[name] = value
        elif name == b"host":
            return found, InvalidHost()
        elif name in SINGLE:
            return found, MalformedRequest("A header that may come once came twice.")
        else:
            found[name] += b", " + value
    return found, None


def origin_form(target: bytes, host: bytes | None) -> bytes:
    """Path and query of a target. One with scheme and host, as for a proxy, is ours if the host is the one asked for.

    What stands for another host is returned as it is, and is no valid path.
    """
    found = ABSOLUTE.fullmatch(target)
    if found and host and _name(found[1]) == _name(host):
        target = found[2] if found[2].startswith(b"/") else b"/" + found[2]
    return target


def _name(host: bytes) -> bytes:
    return DEFAULT_PORT.sub(b"", host).lower()


def refusal(target: bytes, fields: Mapping[bytes, bytes], version: str = "1.1") -> ServiceError | None:
    """Why this head is refused, or None. HTTP/1.0, which load balancers ask for health in, knows no Host."""
    host = fields.get(b"host", b"localhost" if version == "1.0" else b"")
    if HOST.fullmatch(host) is None:
        return InvalidHost()
    if TARGET.fullmatch(target) is None:
        return InvalidTarget()
    if b"transfer-encoding" in fields or b"content-length" in fields:
        return framing_refusal(fields.get(b"content-length"), fields.get(b"transfer-encoding"))
    return None


def size(target: bytes, headers: Headers) -> int:
    """Bytes of a head as it came."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def framing_refusal(content_length: bytes | None, transfer_encoding: bytes | None) -> ServiceError | None:
    """Why nobody can be sure where this body ends (the root of request smuggling), or None."""
    if transfer_encoding is not None:
        if content_length is not None:
            return MalformedRequest("A body has either a Content-Length or a Transfer-Encoding.")
        if transfer_encoding.lower() != b"chunked":
            return MalformedRequest("The only Transfer-Encoding taken is chunked.")
    elif content_length is not None and not (content_length.isdigit() and len(content_length) <= 15):  # noqa: PLR2004 - a petabyte
        return MalformedRequest("The Content-Length is not a number.")
    return None
