"""The machinery beside `domain.admission`: the clock, one timer for all who wait, and a future for each of them."""

import asyncio
from collections.abc import Iterable, Mapping

from gateway.domain.admission import SHARES, ConcurrencyLimit, Kind, Pool, Ticket
from shared.errors import Overloaded


class Entrance:
    """Lets requests begin, or raises Overloaded within 50 ms. Belongs to one event loop."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self._pool_of: dict[Kind, Pool] = {kind: pool for pool in pools.values() for kind in pool.kinds}
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}
        self._timers: dict[Pool, asyncio.TimerHandle] = {}

    async def enter(self, kind: Kind, organization: str) -> Ticket:
        """Wait for the turn; raises Overloaded, or what cancels the wait."""
        loop = asyncio.get_running_loop()
        pool = self._pool_of[kind]
        ticket = pool.ask(kind, organization, loop.time())
        if ticket.state == "waiting":
            self._waiting[ticket] = turn = loop.create_future()
            self._watch(pool, loop)
            try:
                await turn
            except asyncio.CancelledError:
                self.leave(ticket)
                raise
        if ticket.state == "refused":
            raise Overloaded(retry_after=ticket.retry_after)
        return ticket

    def leave(self, ticket: Ticket, *, operation: str | None = None) -> None:
        """The request is over; see `Pool.leave`."""
        self._waiting.pop(ticket, None)
        now = asyncio.get_running_loop().time()
        self._call(self._pool_of[ticket.kind].leave(ticket, now, operation=operation))

    def _call(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            turn = self._waiting.pop(ticket, None)
            if turn is not None and not turn.done():
                turn.set_result(None)

    def _watch(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        expiry = pool.next_expiry()
        if pool not in self._timers and expiry is not None:
            self._timers[pool] = loop.call_at(expiry, self._expire, pool, loop)

    def _expire(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        del self._timers[pool]
        self._call(pool.expire(loop.time()))
        self._watch(pool, loop)


def pools(largest: int) -> dict[str, Pool]:
    """The pools by name; none has more than `largest` requests under way."""
    return {name: Pool(ConcurrencyLimit(largest=largest), shares) for name, shares in SHARES.items()}
