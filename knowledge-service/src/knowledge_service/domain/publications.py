"""A publication: the articles of one epoch, whole, as bytes that any replica reads back the same."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from knowledge_service.domain.articles import ArticleText, PublishedArticle

CHUNK = 256 * 1024
"""Bytes of one stored chunk."""
STEP = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Publication:
    """One epoch of an organization; `digest` is the SHA-256 of its packed articles."""

    organization_id: str
    epoch: int
    publication_id: UUID
    published_at: datetime
    articles: int
    chunks: int
    digest: str


def pack(articles: Iterable[PublishedArticle]) -> bytes:
    """The articles as compressed JSON lines in order of their id; the same articles give the same bytes."""
    return pack_lines((article.article_id, line_of(article)) for article in articles)


def line_of(article: PublishedArticle) -> bytes:
    """An article as it is kept in a publication, before packing."""
    return orjson.dumps(article)


def pack_lines(lines: Iterable[tuple[str, bytes]]) -> bytes:
    """Pack lines, each with the id of its article."""
    return zlib.compress(b"\n".join(line for _, line in sorted(lines)), 6)


def unpack(packed: bytes) -> list[PublishedArticle]:
    """The articles of a publication."""
    lines = zlib.decompress(packed).splitlines()
    return [article_of(orjson.loads(line)) for line in lines]


def plain_size(packed: bytes) -> int:
    """Bytes of the articles when they are not packed, found without holding them; the lock of Python is free."""
    unpacking, size = zlib.decompressobj(), 0
    rest = packed
    while rest:
        size += len(unpacking.decompress(rest, STEP))
        rest = unpacking.unconsumed_tail
    return size


def article_of(stored: Mapping[str, Any]) -> PublishedArticle:
    """An article as it was stored."""
    text = stored["text"]
    return PublishedArticle(
        article_id=stored["article_id"],
        version=stored["version"],
        text=ArticleText(**text | {"alternatives": tuple(text["alternatives"]), "tags": tuple(text["tags"])}),
    )


def digest_of(packed: bytes) -> str:
    """The checksum of packed articles."""
    return hashlib.sha256(packed).hexdigest()


def split(packed: bytes) -> list[bytes]:
    """The stored chunks of packed articles, at least one."""
    return [packed[start : start + CHUNK] for start in range(0, max(1, len(packed)), CHUNK)]
