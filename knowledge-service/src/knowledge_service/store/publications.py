"""Publications in CQL: one row an epoch, made by the one LWT there is, and the packed articles in chunks."""

import asyncio
from datetime import UTC

from knowledge_service.domain.publications import Publication, digest_of, split
from shared.cql import Cql, Row
from shared.errors import CapabilityUnavailable

KEPT = 100
"""Epochs that can be read back; older ones are removed when a new one is published."""
AT_ONCE = 4

HEAD = (
    "SELECT organization_id, epoch, publication_id, published_at, articles, chunks, digest "
    "FROM publications WHERE organization_id = ? LIMIT 1"
)
GET = (
    "SELECT organization_id, epoch, publication_id, published_at, articles, chunks, digest "
    "FROM publications WHERE organization_id = ? AND epoch = ?"
)
BUMP = (
    "INSERT INTO publications (organization_id, epoch, publication_id, published_at, articles, chunks, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"
)
FORGET = "DELETE FROM publications WHERE organization_id = ? AND epoch = ?"
PUT_CHUNK = "INSERT INTO publication_chunks (organization_id, publication_id, chunk, content) VALUES (?, ?, ?, ?)"
CHUNK = "SELECT content FROM publication_chunks WHERE organization_id = ? AND publication_id = ? AND chunk = ?"
FORGET_CHUNK = "DELETE FROM publication_chunks WHERE organization_id = ? AND publication_id = ? AND chunk = ?"


class CqlPublications:
    """Every organization's publications."""

    def __init__(self, cql: Cql, *, kept: int = KEPT) -> None:
        self._cql = cql
        self._kept = kept

    async def head(self, organization_id: str) -> Publication | None:
        """The current publication, or None when nothing was ever published."""
        rows = await self._cql.execute(HEAD, (organization_id,))
        return _publication(rows[0]) if rows else None

    async def get(self, organization_id: str, epoch: int) -> Publication | None:
        """The publication of an epoch, if it is still kept."""
        rows = await self._cql.execute(GET, (organization_id, epoch))
        return _publication(rows[0]) if rows else None

    async def packed(self, publication: Publication) -> bytes:
        """Its packed articles; raises CapabilityUnavailable when chunks are not there (yet)."""
        contents: list[bytes] = []
        for chunk in range(publication.chunks):
            key = (publication.organization_id, publication.publication_id, chunk)
            rows = await self._cql.execute(CHUNK, key)
            contents.extend(row.content for row in rows)
        packed = b"".join(contents)
        if digest_of(packed) != publication.digest:
            raise CapabilityUnavailable("A publication is not whole in the database.", capability="knowledge")
        return packed

    async def publish(self, publication: Publication, packed: bytes) -> bool:
        """Store the chunks, then take the epoch; False when somebody else has it."""
        chunks = split(packed)
        for start in range(0, len(chunks), AT_ONCE):
            await asyncio.gather(
                *(
                    self._cql.execute(
                        PUT_CHUNK, (publication.organization_id, publication.publication_id, start + offset, content)
                    )
                    for offset, content in enumerate(chunks[start : start + AT_ONCE])
                )
            )
        rows = await self._cql.execute(
            BUMP,
            (
                publication.organization_id,
                publication.epoch,
                publication.publication_id,
                publication.published_at,
                publication.articles,
                publication.chunks,
                publication.digest,
            ),
            idempotent=False,
        )
        taken = bool(rows[0].applied)
        if not taken:
            await self._forget_chunks(publication)
            return False
        await self._forget_epoch(publication.organization_id, publication.epoch - self._kept)
        return True

    async def _forget_epoch(self, organization_id: str, epoch: int) -> None:
        old = await self.get(organization_id, epoch) if epoch > 0 else None
        if old is not None:
            await self._forget_chunks(old)
            await self._cql.execute(FORGET, (organization_id, epoch))

    async def _forget_chunks(self, publication: Publication) -> None:
        for chunk in range(publication.chunks):
            await self._cql.execute(FORGET_CHUNK, (publication.organization_id, publication.publication_id, chunk))


def _publication(row: Row) -> Publication:
    return Publication(
        organization_id=row.organization_id,
        epoch=row.epoch,
        publication_id=row.publication_id,
        published_at=row.published_at.replace(tzinfo=UTC),
        articles=row.articles,
        chunks=row.chunks,
        digest=row.digest,
    )
