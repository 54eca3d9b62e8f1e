"""The latest publication of each organization as a file, so that a restart without CQL still answers."""

import hashlib
import os
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import structlog

from knowledge_service.domain.publications import Publication, digest_of

log = structlog.get_logger()

KEPT = 1_000
"""Files kept; the longest unused go first."""
SWEEP_EVERY = 50


class DiskSnapshots:
    """One file an organization: a line with the publication, then its packed articles.

    A disk that is full or read-only costs the snapshot, never an answer.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        self._folder = folder / "publications"
        self._kept = kept
        self._saved = 0

    def save(self, publication: Publication, packed: bytes) -> None:
        """Keep it as the organization's latest, written whole or not at all."""
        path = self._path(publication.organization_id)
        temporary = path.with_suffix(f".{uuid4().hex}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(orjson.dumps(publication) + b"\n" + packed)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._sweep()
        except OSError as error:
            log.warning("snapshot_not_saved", error=repr(error))

    def load(self, organization_id: str) -> tuple[Publication, bytes] | None:
        """The latest one kept; None when there is none or it is damaged."""
        try:
            head, _, packed = self._path(organization_id).read_bytes().partition(b"\n")
            publication = _publication(head)
        except (OSError, KeyError, TypeError, ValueError):
            return None
        whole = digest_of(packed) == publication.digest and publication.organization_id == organization_id
        return (publication, packed) if whole else None

    def _path(self, organization_id: str) -> Path:
        name = hashlib.sha256(organization_id.encode()).hexdigest()[:40]
        return self._folder / f"{name}.publication"

    def _sweep(self) -> None:
        """Now and then, remove what was not written for longest."""
        self._saved += 1
        if self._saved % SWEEP_EVERY != 1:
            return
        files = sorted(self._folder.glob("*.publication"), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) - self._kept)]:
            path.unlink(missing_ok=True)


def _publication(line: bytes) -> Publication:
    """The publication a file begins with; raises KeyError, TypeError or ValueError for anything else."""
    stored = orjson.loads(line)
    own = {
        "publication_id": UUID(stored["publication_id"]),
        "published_at": datetime.fromisoformat(stored["published_at"]),
    }
    return Publication(**stored | own)
