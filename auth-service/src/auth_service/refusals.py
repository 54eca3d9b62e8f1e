"""Wrong logins on their way into the audit log, which they reach after the reply.

Written before it, they told by the time it took whether an address has an account.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter

from auth_service.domain.accounts import RefusalLog
from auth_service.domain.audit import AuditEvent, AuditStore
from auth_service.domain.clock import Clock
from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

ROOM = 10_000
"""Wrong logins that may wait: the limits on guessing let ten through for an account in a quarter of an hour."""
LOST = Counter("audit_entries_lost", "Wrong logins that were not written into the audit log.", registry=None)


class Refusals(RefusalLog):
    """Takes note at once, writes when `write` is called; a process that is killed loses what it holds, a second's."""

    def __init__(self, audit: AuditStore, clock: Clock, room: int = ROOM) -> None:
        self._audit = audit
        self._clock = clock
        self._room = room
        self._noted: deque[tuple[UUID, AuditEvent, datetime]] = deque()

    def note(self, organization_id: UUID, event: AuditEvent) -> None:
        """Remember an event of this moment."""
        if len(self._noted) >= self._room:
            _lost(1)
        else:
            self._noted.append((organization_id, event, self._clock()))

    async def write(self) -> None:
        """Write what was noted, oldest first; what cannot be written now stays. Raises CapabilityUnavailable."""
        while self._noted:
            noted = self._noted.popleft()
            try:
                await self._audit.append(*noted)
            except CapabilityUnavailable:
                self._noted.appendleft(noted)
                raise

    async def close(self) -> None:
        """Write what is left: the process ends."""
        try:
            await self.write()
        except CapabilityUnavailable:
            _lost(len(self._noted))

    @property
    def waiting(self) -> Sequence[AuditEvent]:
        """What is still to be written."""
        return [event for _, event, _ in self._noted]


def _lost(entries: int) -> None:
    LOST.inc(entries)
    log.error("audit_entries_lost", entries=entries)
