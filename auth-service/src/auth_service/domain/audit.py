"""The audit log: entries in order, each sealed with the hash of the one before, one chain per organization."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import orjson

GENESIS = bytes(32)
"""What the first entry is sealed with."""
REGISTERED = "organization.registered"
"""The action that begins every chain."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something worth remembering: who did what to whom. `facts` are JSON and hold no secret."""

    action: str
    actor_id: UUID | None = None
    subject: str | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def facts_text(self) -> str:
        """The facts as canonical JSON, as they are stored and hashed."""
        return orjson.dumps(self.facts, option=orjson.OPT_SORT_KEYS).decode()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event in its place in the chain."""

    organization_id: UUID
    sequence: int
    occurred_at: datetime
    actor_id: UUID | None
    action: str
    subject: str | None
    facts: str
    hash: bytes

    def sealed_after(self, previous: bytes) -> bytes:
        """The hash that this entry must have when `previous` is the hash before it."""
        content = orjson.dumps(
            [
                str(self.organization_id),
                self.sequence,
                self.occurred_at.astimezone(UTC).isoformat(timespec="microseconds"),
                str(self.actor_id) if self.actor_id else None,
                self.action,
                self.subject,
                self.facts,
            ]
        )
        return hashlib.sha256(previous + content).digest()


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of an organization's chain."""

    organization_id: UUID
    sequence: int = 0
    hash: bytes = GENESIS

    def append(self, event: AuditEvent, occurred_at: datetime) -> AuditEntry:
        """The next entry of the chain."""
        unsealed = AuditEntry(
            self.organization_id,
            self.sequence + 1,
            occurred_at,
            event.actor_id,
            event.action,
            event.subject,
            event.facts_text(),
            b"",
        )
        return replace(unsealed, hash=unsealed.sealed_after(self.hash))


class AuditStore(Protocol):
    """Where the chains are."""

    async def append(self, organization_id: UUID, event: AuditEvent, now: datetime) -> None:
        """Add one event to an organization's chain; where that is broken, beside it. It never fails for the chain."""
        ...

    async def page(self, organization_id: UUID, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """Up to `limit` entries older than sequence `before`, newest first."""
        ...
