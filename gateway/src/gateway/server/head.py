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
SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"idempotency-key"}
)
"""Fields that two parties could read differently when they come twice."""


def read(headers: Headers) -> tuple[dict[bytes, bytes], ServiceError | None]:
    """Each field by its lower-case name, the first where it comes twice, and the refusal if it may not."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in found:
            found[name] = value
        elif name == b"host":
            return found, InvalidHost()
        elif name in SINGLE:
            return found, MalformedRequest("A header that may come once came twice.")
    return found, None


def refusal(target: bytes, fields: Mapping[bytes, bytes]) -> ServiceError | None:
    """Why this head is refused, or None."""
    host = fields.get(b"host")
    if host is None or HOST.fullmatch(host) is None:
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
