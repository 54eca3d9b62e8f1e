"""What the head of a request must look like before anything else of it is believed."""

import re
from collections.abc import Sequence

from gateway.domain.errors import InvalidTarget
from shared.errors import HeadersTooLarge, InvalidHost, MalformedRequest, ServiceError

Headers = Sequence[tuple[bytes, bytes]]

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 64

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?\.?)(?::[0-9]{1,5})?")
TARGET = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*(?:\?[!-~]*)?")
SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"idempotency-key"}
)
"""Fields that two parties could read differently when they come twice."""


def refusal(target: bytes, headers: Headers, size: int) -> ServiceError | None:
    """Why this head is refused, or None. `headers` have lower-case names; `size` is that of all of it in bytes."""
    if size > MAX_HEAD_BYTES or len(headers) > MAX_FIELDS:
        return HeadersTooLarge()
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in SINGLE:
            if name in found:
                return InvalidHost() if name == b"host" else MalformedRequest("A header that may come once came twice.")
            found[name] = value
    host = found.get(b"host")
    if host is None or HOST.fullmatch(host) is None:
        return InvalidHost()
    if TARGET.fullmatch(target) is None or b"#" in target:
        return InvalidTarget()
    return framing_refusal(found.get(b"content-length"), found.get(b"transfer-encoding"))


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
