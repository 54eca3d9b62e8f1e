"""Telling neighbours what happened here, for as long as it takes: notifications and settlements of quota."""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog

from shared.errors import Conflict, NotFound, ServiceError
from task_worker.domain.task import Event, Settling

log = structlog.get_logger()

BATCH = 20
LEASE = timedelta(seconds=15)
"""How long a claimed row is left to the one who claimed it: longer than one call, shorter than anybody's patience."""
RETRY_CAP = timedelta(seconds=10)

Row = TypeVar("Row", Event, Settling)


class Outbox(Protocol):
    """Events that a neighbour has to take over."""

    async def claim_events(self, limit: int, lease: timedelta) -> Sequence[Event]:
        """Events that are due, left to this caller for the time of the lease."""
        ...

    async def mark_delivered(self, event: Event) -> None:
        """It is with the neighbour."""
        ...

    async def delay_event(self, event: Event, wait: timedelta) -> None:
        """Try again later."""
        ...


class Settlements(Protocol):
    """Reservations that have to be committed or refunded."""

    async def claim_settlements(self, limit: int, lease: timedelta) -> Sequence[Settling]:
        """Settlements that are due, left to this caller for the time of the lease."""
        ...

    async def mark_settled(self, settling: Settling) -> None:
        """It is with the neighbour."""
        ...

    async def delay_settlement(self, settling: Settling, wait: timedelta) -> None:
        """Try again later."""
        ...


class Notifications(Protocol):
    """Where events go; idempotent by event id."""

    async def notify(self, event: Event) -> None:
        """Hand an event over."""
        ...


class Charges(Protocol):
    """Where settlements go; idempotent by task id."""

    async def settle(self, settling: Settling) -> None:
        """Commit or refund a reservation; raises NotFound for none, Conflict for one settled otherwise."""
        ...


class Delivery:
    """Delivers what is due, at least once; the receivers make it exactly once."""

    def __init__(
        self, outbox: Outbox, settlements: Settlements, notifications: Notifications, charges: Charges
    ) -> None:
        self._outbox = outbox
        self._settlements = settlements
        self._notifications = notifications
        self._charges = charges

    async def deliver_due(self) -> int:
        """One round; how many rows were due. The next round is worth it at once when a batch was full."""
        events = await self._outbox.claim_events(BATCH, LEASE)
        for event in events:
            await _hand_over(event, self._notifications.notify, self._outbox.mark_delivered, self._outbox.delay_event)
        settlings = await self._settlements.claim_settlements(BATCH, LEASE)
        for settling in settlings:
            await _hand_over(settling, self._settle, self._settlements.mark_settled, self._settlements.delay_settlement)
        return max(len(events), len(settlings))

    async def _settle(self, settling: Settling) -> None:
        try:
            await self._charges.settle(settling)
        except (NotFound, Conflict) as error:
            # It never reached auth-service, or was settled the other way there: asking again would change nothing.
            log.warning("settlement_refused", task_id=str(settling.task_id), outcome=settling.outcome, code=error.code)


async def _hand_over(
    row: Row,
    send: Callable[[Row], Awaitable[None]],
    done: Callable[[Row], Awaitable[None]],
    delay: Callable[[Row, timedelta], Awaitable[None]],
) -> None:
    try:
        await send(row)
    except ServiceError as error:
        log.warning("delivery_failed", kind=type(row).__name__, tries=row.tries, error=repr(error))
        await delay(row, _wait(row.tries))
    else:
        await done(row)


def _wait(tries: int) -> timedelta:
    """Full jitter under a doubling bound of at most RETRY_CAP."""
    bound = min(RETRY_CAP.total_seconds(), 0.5 * 2 ** min(tries, 10))
    return timedelta(seconds=random.uniform(0, bound))  # noqa: S311 - jitter guards nothing
