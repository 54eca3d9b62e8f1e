"""What a body must be before a byte of it is read: its size, type and coding; a refusal says what is taken."""

from collections.abc import Mapping

from gateway.routes.table import JSON, Route
from shared.errors import BodyTooLarge, UnsupportedMediaType

UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})
CHARSET = b"charset="


def check_body(headers: Mapping[bytes, bytes], route: Route) -> bytes | None:
    """How the body is framed, None without one; refuses what is too large or of another kind."""
    length = headers.get(b"content-length")
    framing = headers.get(b"transfer-encoding") or (length if length and int(length) else None)
    if framing is None:
        return None
    if length is not None and int(length) > route.max_body:
        raise too_large(route)
    _check_kind(headers, route)
    return framing


def too_large(route: Route) -> BodyTooLarge:
    """The refusal of a body over the limit of its route."""
    return BodyTooLarge(f"The body may have at most {route.max_body} bytes here.")


def _check_kind(headers: Mapping[bytes, bytes], route: Route) -> None:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType(
            "A compressed body is not taken: send it without Content-Encoding.", headers={"Accept-Encoding": "identity"}
        )
    media, *parameters = (part.strip().lower() for part in headers.get(b"content-type", b"").split(b";"))
    is_json = media in JSON or media.endswith(b"+json")
    if media not in route.media and not (is_json and route.media >= JSON):
        raise _other_type(route)
    charsets = [each.removeprefix(CHARSET).strip(b'"') for each in parameters if each.startswith(CHARSET)]
    if is_json and not UTF_8.issuperset(charsets):
        raise UnsupportedMediaType("JSON has to be written in UTF-8.", headers={"Accept": "application/json"})


def _other_type(route: Route) -> UnsupportedMediaType:
    taken = sorted(media.decode() for media in route.media)
    return UnsupportedMediaType(f"Send the body as {' or '.join(taken)}.", headers={"Accept": ", ".join(taken)})
