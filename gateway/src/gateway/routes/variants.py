"""Large documents that are sent compressed to whoever takes that: compressed once, recognized by their ETag."""

import gzip
import hashlib
import re
from dataclasses import dataclass

CODING = re.compile(rb"\s*([A-Za-z0-9*-]+)\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?")


@dataclass(frozen=True, slots=True)
class Variants:
    """One document as it is and compressed; each has a tag of its own."""

    plain: bytes
    zipped: bytes
    tag: bytes

    def tag_of(self, *, is_zipped: bool) -> bytes:
        """The ETag of one variant."""
        return b'"%b-gzip"' % self.tag if is_zipped else b'"%b"' % self.tag


def variants(body: bytes) -> Variants:
    """Compress a document; takes milliseconds, so it belongs in a thread."""
    return Variants(body, gzip.compress(body, 9, mtime=0), hashlib.sha256(body).hexdigest()[:32].encode())


def takes_gzip(accept_encoding: bytes | None) -> bool:
    """Whether an Accept-Encoding header lets us compress."""
    weights = {}
    for part in (accept_encoding or b"").split(b","):
        found = CODING.fullmatch(part)
        if found:
            weights[found[1].lower()] = _weight(found[2])
    return weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0))) > 0


def is_known(if_none_match: bytes | None, tag: bytes) -> bool:
    """Whether the client has this variant already."""
    known = [part.strip().removeprefix(b"W/") for part in (if_none_match or b"").split(b",")]
    return tag in known or b"*" in known


def _weight(text: bytes | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0
