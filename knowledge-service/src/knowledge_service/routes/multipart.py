"""Files in a multipart body that is in memory, found by searching for the boundary.

The usual parser walks through some bodies byte by byte: ten seconds of the event loop for 10 MB of line ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

MOST_PARTS = 20
LARGEST_HEAD = 8 * 1024


class NotMultipart(Exception):
    """The body is not what its content type says."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a form."""

    field: str
    name: str
    media_type: str
    content: bytes


def files_of(content_type: str, body: bytes) -> Iterator[FilePart]:
    """The files of a form in their order, fields left out; raises NotMultipart."""
    for head, content in _parts(content_type, body):
        _, options = parse_options_header(head.get("content-disposition", ""))
        if b"filename" in options:
            yield FilePart(
                field=options.get(b"name", b"").decode(errors="replace"),
                name=options[b"filename"].decode(errors="replace"),
                media_type=head.get("content-type", ""),
                content=content,
            )


def _parts(content_type: str, body: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise NotMultipart
    mark = b"\r\n--" + boundary
    body = b"\r\n" + body  # the first boundary may begin the body
    at = body.find(mark)
    for _ in range(MOST_PARTS):
        if at < 0:
            raise NotMultipart
        at += len(mark)
        if body.startswith(b"--", at):
            return
        end_of_head = body.find(b"\r\n\r\n", at, at + LARGEST_HEAD)
        following = body.find(mark, end_of_head + 2)
        if end_of_head < 0 or following < 0:
            raise NotMultipart
        yield _head(body[at:end_of_head]), body[end_of_head + 4 : following]
        at = following
    raise NotMultipart


def _head(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode(errors="replace").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
