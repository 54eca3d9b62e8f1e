"""Quota by lease: messages burn units that auth-service granted, in process; the ledger hears of it right after."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from chat_service.domain.leases import REST, Grant, Holding, Lease, LeaseReturn, Usage
from shared.background import Background
from shared.errors import CapabilityUnavailable, ServiceError
from shared.metrics import LOST

log = structlog.get_logger()

ACTIVE = timedelta(seconds=30)
"""An organization that asked nothing for so long is not renewed ahead."""
PATIENCE = timedelta(seconds=2)
"""How long a message waits while units are out elsewhere and may come back."""
ASK_AGAIN = timedelta(milliseconds=100)
SETTLE_EVERY = timedelta(milliseconds=400)
"""Where somebody is near a limit, so that units which lie idle go where they are waited for."""
REPORT_EVERY = timedelta(seconds=1)
"""Elsewhere: each report costs auth-service a transaction per organization in it."""
BATCH = 500


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One charged unit; the ledger takes it once by organization and event id."""

    organization_id: str
    event_id: str
    lease_id: str
    occurred_at: datetime


class Accounts(Protocol):
    """Where units come from and usage goes to: auth-service."""

    async def lease(self, organization_id: str, want: int) -> Grant:
        """Up to `want` units. Raises CapabilityUnavailable, NotFound (no such organization)."""
        ...

    async def report(self, events: Sequence[UsageEvent], returns: Sequence[LeaseReturn]) -> None:
        """Record usage and give units back; may be repeated. Raises as `lease`."""
        ...


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """Journalled usage to report; `own`: written by this process, not found at its start."""

    events: Sequence[UsageEvent]
    own: bool


class UsageJournal(Protocol):
    """Usage that survives the death of this process until it is in the ledger."""

    def append(self, event: UsageEvent) -> None:
        """Write it down, at once."""
        ...

    def next_batch(self, limit: int) -> UsageBatch | None:
        """The oldest events that are not settled; the same ones until `settled`."""
        ...

    def settled(self) -> None:
        """The last batch is in the ledger."""
        ...


@dataclass(slots=True)
class _Waiter:
    unit: asyncio.Future["Unit"]
    since: float


@dataclass(slots=True)
class _Account:
    """What is held of one organization's plan, and the messages that wait for more."""

    holding: Holding
    waiters: deque[_Waiter] = field(default_factory=deque)
    asked_at: float = float("-inf")
    pump: asyncio.Task[None] | None = None

    @property
    def organization_id(self) -> str:
        """Whose it is."""
        return self.holding.organization_id


class Unit:
    """One unit held for one message: burn it when the message was answered, else release it."""

    __slots__ = ("_account", "_lease", "_quota")

    def __init__(self, quota: "Quota", account: _Account, lease: Lease) -> None:
        self._quota = quota
        self._account = account
        self._lease = lease

    def burn(self, event_id: str) -> Usage:
        """Charge it: journalled when this returns."""
        return self._quota.charge(self._account, self._lease, event_id)

    def release(self) -> Usage:
        """Give it to the next message."""
        return self._quota.put_back(self._account, self._lease)


class Quota:
    """Units for messages, without a call on the hot path.

    While auth-service is away, what is held is burned to its end, even past its expiry; the ledger hears of it
    afterwards. Near the limit units are leased one by one and idle ones given back, so that none is stranded here
    while another replica has to refuse.
    """

    def __init__(self, accounts: Accounts, journal: UsageJournal, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = accounts
        self._journal = journal
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._background = Background()
        self._settling = asyncio.Lock()
        self.is_degraded = False

    async def take(self, organization_id: str) -> Unit:
        """Hold a unit. Raises QuotaExceeded (the plan is spent), CapabilityUnavailable("accounts") (nobody knows)."""
        now = self._clock()
        account = self._accounts.get(organization_id)
        if account is None:
            account = self._accounts[organization_id] = _Account(Holding(organization_id))
        account.asked_at = now
        lease = account.holding.take(now) if not account.waiters else None
        if lease is not None:
            if account.pump is None and account.holding.should_renew(now):
                self._start_pump(account)
            return Unit(self, account, lease)
        refusal = account.holding.refused(now)
        if refusal is not None:
            raise refusal
        waiter = _Waiter(asyncio.get_running_loop().create_future(), now)
        account.waiters.append(waiter)
        if account.pump is None:
            self._start_pump(account)
        try:
            return await waiter.unit
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def charge(self, account: _Account, lease: Lease, event_id: str) -> Usage:
        """Burn one held unit."""
        occurred_at = datetime.now(UTC)
        self._journal.append(UsageEvent(account.organization_id, event_id, lease.id, occurred_at))
        account.holding.unrecorded += 1
        return account.holding.usage

    def put_back(self, account: _Account, lease: Lease) -> Usage:
        """Make a held unit free again."""
        account.holding.put_back(lease)
        self._serve(account)
        return account.holding.usage

    def usage(self, organization_id: str) -> Usage:
        """What is known of an organization's usage."""
        account = self._accounts.get(organization_id)
        return account.holding.usage if account else Usage(0, None)

    async def settle(self, *, whole: bool = False) -> None:
        """Bring journalled usage and idle units to the ledger; what cannot be brought now stays.

        Unless `whole`, what is charged meanwhile waits for the next time: under load this would never end.
        """
        async with self._settling:
            returns = self._idle_units()
            while True:
                batch = self._journal.next_batch(BATCH)
                if batch is None and not returns:
                    return
                await self._report(batch, returns)
                returns = []
                if not whole and batch is not None and batch.own and len(batch.events) < BATCH:
                    return

    async def keep_settling(self) -> None:
        """Settle for ever: every second, and every 0.4 s while somebody is near a limit."""
        due = 0.0
        while True:
            await asyncio.sleep(SETTLE_EVERY.total_seconds())
            now = self._clock()
            if now < due and not any(account.holding.is_near for account in self._accounts.values()):
                continue
            due = now + REPORT_EVERY.total_seconds() - SETTLE_EVERY.total_seconds() / 2
            try:
                await self.settle()
            except CapabilityUnavailable as error:
                log.warning("usage_waits", error=error.code)
                await asyncio.sleep(REST.total_seconds())

    async def close(self) -> None:
        """Settle a last time and return every unit that is held."""
        await self._background.close()
        for account in self._accounts.values():
            account.holding.is_near = True
            account.asked_at = float("-inf")
        try:
            await self.settle(whole=True)
        except CapabilityUnavailable as error:
            log.warning("usage_waits", error=error.code)

    async def _report(self, batch: UsageBatch | None, returns: list[LeaseReturn]) -> None:
        events = batch.events if batch else ()
        try:
            await self._ledger.report(events, returns)
        except CapabilityUnavailable:
            self._keep(returns)
            raise
        except ServiceError as refused:
            await self._report_one_by_one(events, refused)
        if batch is not None:
            self._journal.settled()
            if batch.own:
                self._recorded(batch.events)

    async def _report_one_by_one(self, events: Sequence[UsageEvent], refused: ServiceError) -> None:
        """One event that auth-service will never take (its organization is gone) must not hold up the others."""
        if len(events) <= 1:
            _refused(refused, events)
            return
        for event in events:
            try:
                await self._ledger.report([event], ())
            except CapabilityUnavailable:
                raise
            except ServiceError as error:
                _refused(error, [event])

    def _recorded(self, events: Sequence[UsageEvent]) -> None:
        for event in events:
            account = self._accounts.get(event.organization_id)
            if account is not None:
                account.holding.recorded()

    def _idle_units(self) -> list[LeaseReturn]:
        """Units to give back: all of an organization near its limit that nobody waits for; and forget idle accounts."""
        now = self._clock()
        returns = []
        for account in list(self._accounts.values()):
            holding, idle = account.holding, now - account.asked_at
            if holding.is_near and not account.waiters and idle > SETTLE_EVERY.total_seconds():
                returns += holding.give_up(now)
            if not holding.leases and not holding.unrecorded and idle > ACTIVE.total_seconds() * 10:
                self._accounts.pop(account.organization_id, None)
        return returns

    def _keep(self, returns: list[LeaseReturn]) -> None:
        now = self._clock()
        for back in returns:
            account = self._accounts.get(back.organization_id)
            if account is not None:
                account.holding.keep(back, now)

    def _start_pump(self, account: _Account) -> None:
        account.pump = self._background.spawn(self._pump(account))

    async def _pump(self, account: _Account) -> None:
        """Ask for leases until nobody waits; at least once, for a renewal ahead."""
        try:
            while True:
                await self._ask(account)
                self._serve(account)
                if not account.waiters:
                    return
        except CapabilityUnavailable as error:
            self._cope(account, error)
        except ServiceError as error:
            self._refuse(account, error)
        finally:
            account.pump = None

    async def _ask(self, account: _Account) -> None:
        holding, asked_at = account.holding, self._clock()
        want = holding.want(len(account.waiters))
        grant = await self._ledger.lease(account.organization_id, want)
        now = self._clock()
        self.is_degraded = False
        holding.learn(grant, want, asked_at=asked_at, now=now)
        if grant.is_refusal:
            raise grant.refusal
        if grant.granted:
            return
        while account.waiters and now - account.waiters[0].since > PATIENCE.total_seconds():
            _fail(account.waiters.popleft(), grant.refusal)
        if account.waiters:
            await asyncio.sleep(ASK_AGAIN.total_seconds())

    def _serve(self, account: _Account) -> None:
        now = self._clock()
        while account.waiters:
            if account.waiters[0].unit.done():
                account.waiters.popleft()
                continue
            lease = account.holding.take(now)
            if lease is None:
                return
            account.waiters.popleft().unit.set_result(Unit(self, account, lease))

    def _cope(self, account: _Account, error: ServiceError) -> None:
        """The accounts are away: burn what is held, refuse the rest."""
        self.is_degraded = True
        account.holding.went_away(self._clock())
        self._serve(account)
        if account.waiters:
            log.warning("quota_unknown", organization_id=account.organization_id, error=error.code)
        self._refuse(account, CapabilityUnavailable(capability="accounts"))

    def _refuse(self, account: _Account, error: ServiceError) -> None:
        while account.waiters:
            _fail(account.waiters.popleft(), error)

    def _abandon(self, waiter: _Waiter) -> None:
        """The message was cancelled while it waited; a unit it may just have been given goes back."""
        if waiter.unit.done() and not waiter.unit.cancelled() and waiter.unit.exception() is None:
            waiter.unit.result().release()


def _fail(waiter: _Waiter, error: ServiceError) -> None:
    if not waiter.unit.done():
        waiter.unit.set_exception(error)


def _refused(error: ServiceError, events: Sequence[UsageEvent]) -> None:
    log.error("usage_refused", code=error.code, events=[event.event_id for event in events])
    LOST.labels("usage").inc(len(events))
