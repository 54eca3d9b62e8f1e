"""Quota by lease: messages burn units that auth-service granted, in process; the ledger hears of it right after."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from shared.background import Background
from shared.errors import CapabilityUnavailable, QuotaExceeded, ServiceError

log = structlog.get_logger()

SMALLEST_WISH = 20
LARGEST_WISH = 500
"""Units asked for at once; what is held must carry an organization through a short outage of the accounts."""
NEAR = 4
"""A grant of so few units, though more were asked for, means that the limit is near."""
RENEW_BEFORE = timedelta(seconds=10)
ACTIVE = timedelta(seconds=30)
"""An organization that asked nothing for so long is not renewed ahead."""
PATIENCE = timedelta(seconds=2)
"""How long a message waits while units are out elsewhere and may come back."""
REST = timedelta(seconds=1)
"""How long the answers "spent" and "away" are believed."""
ASK_AGAIN = timedelta(milliseconds=100)
SETTLE_EVERY = timedelta(milliseconds=400)
"""Where somebody is near a limit, so that units which lie idle go where they are waited for."""
REPORT_EVERY = timedelta(seconds=1)
"""Elsewhere: each report costs auth-service a transaction per organization in it."""
BATCH = 500


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as granted; `granted` 0 while nothing can be had. `used` is recorded usage, `limit` None is none."""

    lease_id: str
    granted: int
    used: int
    limit: int | None
    expires_at: datetime
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One charged unit; the ledger takes it once by organization and event id."""

    organization_id: str
    event_id: str
    lease_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class LeaseReturn:
    """Units that will not be burned."""

    organization_id: str
    lease_id: str
    unburned: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organization has used of its plan this period, as far as this process knows."""

    used: int
    limit: int | None

    @property
    def remaining(self) -> int | None:
        """What is left; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


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


@dataclass(slots=True, eq=False)
class _Lease:
    id: str
    left: int
    expires_at: float


@dataclass(slots=True)
class _Waiter:
    unit: asyncio.Future["Unit"]
    since: float


@dataclass(slots=True)
class _Account:
    """What this process holds of one organization's plan."""

    organization_id: str
    leases: list[_Lease] = field(default_factory=list)
    waiters: deque[_Waiter] = field(default_factory=deque)
    used: int = 0
    unrecorded: int = 0
    limit: int | None = None
    wish: int = SMALLEST_WISH
    is_near: bool = False
    refusal: QuotaExceeded | None = None
    refused_until: float = 0.0
    away_until: float = 0.0
    asked_at: float = 0.0
    granted_at: float = 0.0
    pump: asyncio.Task[None] | None = None

    def pick(self, now: float, *, even_expired: bool) -> _Lease | None:
        """A lease with a unit left, the one that expires first."""
        for lease in self.leases:
            if lease.left > 0 and (even_expired or lease.expires_at > now):
                return lease
        return None

    def left(self, now: float) -> int:
        """Units that may be burned."""
        return sum(lease.left for lease in self.leases if lease.expires_at > now)


class Unit:
    """One unit held for one message: burn it when the message was answered, else release it."""

    __slots__ = ("_account", "_lease", "_quota")

    def __init__(self, quota: "Quota", account: _Account, lease: _Lease) -> None:
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

    def __init__(self, accounts: Accounts, journal: UsageJournal, clock: Callable[[], float] = time.time) -> None:
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
            account = self._accounts[organization_id] = _Account(organization_id)
        account.asked_at = now
        lease = account.pick(now, even_expired=now < account.away_until) if not account.waiters else None
        if lease is not None:
            lease.left -= 1
            if account.pump is None and self._should_renew(account, now):
                self._start_pump(account)
            return Unit(self, account, lease)
        if account.refusal is not None and now < account.refused_until:
            raise account.refusal
        waiter = _Waiter(asyncio.get_running_loop().create_future(), now)
        account.waiters.append(waiter)
        if account.pump is None:
            self._start_pump(account)
        try:
            return await waiter.unit
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def charge(self, account: _Account, lease: _Lease, event_id: str) -> Usage:
        """Burn one held unit."""
        occurred_at = datetime.fromtimestamp(self._clock(), UTC)
        self._journal.append(UsageEvent(account.organization_id, event_id, lease.id, occurred_at))
        account.unrecorded += 1
        return self._usage(account)

    def put_back(self, account: _Account, lease: _Lease) -> Usage:
        """Make a held unit free again."""
        lease.left += 1
        if lease not in account.leases:
            account.leases.append(lease)  # its other units were returned meanwhile
        if account.waiters:
            self._serve(account, even_expired=False)
        return self._usage(account)

    def usage(self, organization_id: str) -> Usage:
        """What is known of an organization's usage."""
        return self._usage(self._accounts.get(organization_id) or _Account(organization_id))

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
            if now < due and not any(account.is_near for account in self._accounts.values()):
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
            account.is_near = True
            account.asked_at = 0.0
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
            log.error("usage_refused", code=refused.code, events=[event.event_id for event in events])
            return
        for event in events:
            try:
                await self._ledger.report([event], ())
            except CapabilityUnavailable:
                raise
            except ServiceError as error:
                log.error("usage_refused", code=error.code, events=[event.event_id])

    def _recorded(self, events: Sequence[UsageEvent]) -> None:
        for event in events:
            account = self._accounts.get(event.organization_id)
            if account is not None and account.unrecorded > 0:
                account.unrecorded -= 1
                account.used += 1

    def _idle_units(self) -> list[LeaseReturn]:
        """Units to give back: all of an organization near its limit that nobody waits for; and forget idle accounts."""
        now = self._clock()
        returns = []
        for account in list(self._accounts.values()):
            if account.is_near and not account.waiters and now - account.asked_at > SETTLE_EVERY.total_seconds():
                returns += self._take_leases(account, now)
            if not account.leases and not account.unrecorded and now - account.asked_at > ACTIVE.total_seconds() * 10:
                self._accounts.pop(account.organization_id, None)
        return returns

    def _take_leases(self, account: _Account, now: float) -> list[LeaseReturn]:
        living = [lease for lease in account.leases if lease.left > 0 and lease.expires_at > now]
        returns = [LeaseReturn(account.organization_id, lease.id, lease.left) for lease in living]
        for lease in living:
            lease.left = 0
        account.leases.clear()
        return returns

    def _keep(self, returns: list[LeaseReturn]) -> None:
        """The accounts are away: what could not be returned may be burned; its expiry is near enough."""
        expiry = self._clock() + RENEW_BEFORE.total_seconds()
        for back in returns:
            account = self._accounts.get(back.organization_id)
            if account is not None:
                account.leases.append(_Lease(back.lease_id, back.unburned, expiry))

    def _should_renew(self, account: _Account, now: float) -> bool:
        if account.is_near or now < account.away_until or now < account.refused_until:
            return False
        soon = now + RENEW_BEFORE.total_seconds()
        return account.left(soon) <= account.wish // 4

    def _start_pump(self, account: _Account) -> None:
        account.pump = self._background.spawn(self._pump(account))

    async def _pump(self, account: _Account) -> None:
        """Ask for leases until nobody waits; at least once, for a renewal ahead."""
        try:
            while True:
                await self._ask(account)
                self._serve(account, even_expired=False)
                if not account.waiters:
                    return
        except CapabilityUnavailable as error:
            self._cope(account, error)
        except ServiceError as error:
            self._refuse(account, error)
        finally:
            account.pump = None

    async def _ask(self, account: _Account) -> None:
        waiting = len(account.waiters)
        want = waiting if account.is_near and waiting else min(LARGEST_WISH, waiting + account.wish)
        grant = await self._ledger.lease(account.organization_id, want)
        now = self._clock()
        self.is_degraded = False
        self._learn(account, grant, want, now)
        if grant.granted:
            account.leases = [lease for lease in account.leases if lease.left and lease.expires_at > now]
            account.leases.append(_Lease(grant.lease_id, grant.granted, grant.expires_at.timestamp()))
            return
        refusal = QuotaExceeded(
            retry_after=max(1, int(grant.resets_at.timestamp() - now)), resets_at=grant.resets_at.isoformat()
        )
        if grant.limit is not None and grant.used >= grant.limit:
            account.refusal, account.refused_until = refusal, now + REST.total_seconds()
            raise refusal
        while account.waiters and now - account.waiters[0].since > PATIENCE.total_seconds():
            _fail(account.waiters.popleft(), refusal)
        if account.waiters:
            await asyncio.sleep(ASK_AGAIN.total_seconds())

    def _learn(self, account: _Account, grant: Grant, want: int, now: float) -> None:
        """Size the next wish by how fast the last one was used up."""
        if now - account.granted_at < RENEW_BEFORE.total_seconds():
            account.wish = min(LARGEST_WISH, account.wish * 2)
        elif account.left(now) > account.wish // 2:
            account.wish = max(SMALLEST_WISH, account.wish // 2)
        account.granted_at = now
        account.used, account.limit = grant.used, grant.limit
        account.is_near = grant.limit is not None and grant.granted < min(want, NEAR + 1)
        account.away_until = 0.0

    def _serve(self, account: _Account, *, even_expired: bool) -> None:
        now = self._clock()
        while account.waiters:
            lease = account.pick(now, even_expired=even_expired)
            if lease is None:
                return
            waiter = account.waiters.popleft()
            if not waiter.unit.done():
                lease.left -= 1
                waiter.unit.set_result(Unit(self, account, lease))

    def _cope(self, account: _Account, error: ServiceError) -> None:
        """The accounts are away: burn what is held, refuse the rest."""
        self.is_degraded = True
        account.away_until = self._clock() + REST.total_seconds()
        self._serve(account, even_expired=True)
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

    def _usage(self, account: _Account) -> Usage:
        return Usage(account.used + account.unrecorded, account.limit)


def _fail(waiter: _Waiter, error: ServiceError) -> None:
    if not waiter.unit.done():
        waiter.unit.set_exception(error)
