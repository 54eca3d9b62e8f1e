"""Migrations are plain numbered .sql and .cql files with a checksum each; one module per engine applies them."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files

NAME = re.compile(r"\d{4}_[a-z0-9_]+\.(sql|cql)")
PATIENCE = timedelta(seconds=60)
"""How long a migration waits for an engine that starts beside it."""
DDL = timedelta(seconds=30)
"""What one statement that changes a schema may take."""


class MigrationChanged(RuntimeError):
    """A migration that was applied has another text now: add a new one instead."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of a service's `migrations` folder."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """Its statements, for CQL: separated by a semicolon at the end of a line."""
        without_comments = re.sub(r"^\s*--.*$", "", self.text, flags=re.MULTILINE)
        for part in re.split(r";\s*(?:\n|$)", without_comments):
            if part.strip():
                yield part.strip()


def migrations_of(package: str) -> list[Migration]:
    """The migrations in `<package>/migrations`, in order."""
    folder = files(package) / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if NAME.fullmatch(entry.name))
    return [Migration(name, (folder / name).read_text(encoding="utf-8")) for name in names]


def pending(migrations: list[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is still to be applied; raises MigrationChanged when an applied one has another checksum."""
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationChanged(migration.name)
    return [migration for migration in migrations if migration.name not in applied]
