"""The exported heads of the audit log: a file outside the database, which who rewrites the database does not have."""

import os
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from auth_service.domain.audit import AuditHead
from auth_service.domain.audit_check import sealed, unsealed


class HeadFile:
    """Heads in a file, or nowhere when no path is given."""

    def __init__(self, path: Path | None, key: bytes) -> None:
        self._path = path
        self._key = key

    def read(self) -> dict[UUID, AuditHead]:
        """What was exported; nothing before the first time. Raises ExportChanged."""
        if self._path is None or not self._path.exists():
            return {}
        return unsealed(self._path.read_bytes(), self._key)

    def write(self, heads: Iterable[AuditHead]) -> None:
        """Replace the file in one step: there is always a whole one."""
        if self._path is None:
            return
        unfinished = self._path.with_name(f"{self._path.name}.new")
        with unfinished.open("wb") as file:
            file.write(sealed(heads, self._key))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
