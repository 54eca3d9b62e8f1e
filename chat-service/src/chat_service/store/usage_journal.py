"""Charged units on local disk until auth-service has them in its ledger."""

from datetime import datetime

import orjson
import structlog

from chat_service.domain.quota import UsageBatch, UsageEvent
from chat_service.store.journal import Journal
from shared.metrics import LOST

log = structlog.get_logger()


class DiskUsage:
    """The usage journal: one line per charged unit."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, event: UsageEvent) -> None:
        """Write it down, at once."""
        self._journal.append(
            orjson.dumps([event.organization_id, event.event_id, event.lease_id, event.occurred_at.isoformat()])
        )

    def next_batch(self, limit: int) -> UsageBatch | None:
        """The oldest events that are not settled."""
        batch = self._journal.next_batch(limit)
        if batch is None:
            return None
        return UsageBatch([event for line in batch.lines if (event := _read(line)) is not None], batch.own)

    def settled(self) -> None:
        """The last batch is in the ledger."""
        self._journal.done()


def _read(line: bytes) -> UsageEvent | None:
    """The event of a line; a torn last line was never acknowledged and is passed over."""
    try:
        organization_id, event_id, lease_id, occurred_at = orjson.loads(line)
        return UsageEvent(organization_id, event_id, lease_id, datetime.fromisoformat(occurred_at))
    except (ValueError, TypeError):
        log.warning("usage_line_torn", length=len(line))
        LOST.labels("usage").inc()
        return None
