"""In-memory twins of the stores: they pass the same tests as the real ones, and let the domain be tested alone."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from auth_service.domain.accounts import AccountStore
from auth_service.domain.audit import REGISTERED, AuditEntry, AuditEvent, AuditHead, AuditStore
from auth_service.domain.audit_check import Chains
from auth_service.domain.clock import Clock
from auth_service.domain.keys import KeyStore, SigningKey
from auth_service.domain.people import LoginAccount, NewSession, Organization, Profile, Registration
from auth_service.domain.quota import (
    FORGOTTEN,
    GRACE,
    LEASE,
    Allowance,
    Counters,
    Grant,
    LeaseRequest,
    Meter,
    MeterUsage,
    Period,
    PlanOffer,
    QuotaStore,
    Recorded,
    Report,
    Reservation,
    Settlement,
    Usage,
    quota_exceeded,
)
from auth_service.domain.sessions import RefreshState, Revocation, Rotation, SessionStore, Verdict
from auth_service.domain.throttle import Count, ThrottleStore
from shared.errors import Conflict, EmailTaken, NotFound

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
PLANS = (
    PlanOffer("free", "Free", 1_000, 10),
    PlanOffer("pro", "Pro", 10_000, 100),
    PlanOffer("enterprise", "Enterprise", None, 1_000),
)


class Watch:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time it shows."""
        return self.now

    def forward(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time


class MemoryAudit(AuditStore, Chains):
    """Chains in dictionaries, by sequence; `heads` and `entries_of` may be tampered with, as by a superuser."""

    def __init__(self) -> None:
        self.chains: dict[UUID, dict[int, AuditEntry]] = defaultdict(dict)
        self.heads: dict[UUID, AuditHead] = {}
        self.beside: list[tuple[UUID, AuditEvent]] = []

    async def append(self, organization_id: UUID, event: AuditEvent, now: datetime) -> None:
        """Add one event to an organization's chain; where that is broken, beside it."""
        if event.action == REGISTERED:
            self.heads.setdefault(organization_id, AuditHead(organization_id))
        head = self.heads.get(organization_id)
        if head is None or head.sequence + 1 in self.chains[organization_id]:
            self.beside.append((organization_id, event))
            return
        entry = head.append(event, now)
        self.chains[organization_id][entry.sequence] = entry
        self.heads[organization_id] = AuditHead(organization_id, entry.sequence, entry.hash)

    async def page(self, organization_id: UUID, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """Up to `limit` entries older than sequence `before`, newest first."""
        older = [entry for entry in self._sorted(organization_id) if before is None or entry.sequence < before]
        return older[::-1][:limit]

    async def organizations(self) -> AsyncIterator[UUID]:
        """Every organization that has a head or an entry."""
        for organization_id in sorted({*self.heads, *self.chains}):
            yield organization_id

    async def entries(self, organization_id: UUID, after: int | None) -> Sequence[AuditEntry]:
        """The entries with a sequence above `after`."""
        return [entry for entry in self._sorted(organization_id) if after is None or entry.sequence > after]

    async def head(self, organization_id: UUID) -> AuditHead | None:
        """The end of a chain, as it is kept."""
        return self.heads.get(organization_id)

    async def unchained(self, organization_id: UUID) -> int:
        """How many entries did not fit into the chain."""
        return sum(1 for whose, _ in self.beside if whose == organization_id)

    def _sorted(self, organization_id: UUID) -> list[AuditEntry]:
        return [entry for _, entry in sorted(self.chains[organization_id].items())]


@dataclass(slots=True)
class _Token:
    session_id: UUID
    expires_at: datetime
    used_at: datetime | None = None


class MemoryAccounts(AccountStore, SessionStore):
    """People, organizations, sessions and revocations in dictionaries."""

    def __init__(self, clock: Clock, audit: MemoryAudit) -> None:
        self._clock = clock
        self._audit = audit
        self._people: dict[str, Registration] = {}
        self._known: set[tuple[UUID, bytes]] = set()
        self._sessions: dict[UUID, NewSession] = {}
        self._ended: dict[UUID, datetime] = {}
        self._tokens: dict[str, _Token] = {}
        self._revoked: dict[tuple[str, str], Revocation] = {}

    async def find_login(self, email: str, address: bytes) -> LoginAccount | None:
        """The account of an address, and whether it was used from this client before."""
        found = self._people.get(email)
        if found is None:
            return None
        who = found.profile
        return LoginAccount(
            who.user_id, who.organization_id, found.password_hash, (who.user_id, address) in self._known
        )

    async def register(self, registration: Registration, event: AuditEvent) -> None:
        """Write person, organization and session together. Raises EmailTaken."""
        if registration.profile.email in self._people:
            raise EmailTaken
        self._people[registration.profile.email] = registration
        self._open(registration.session, registration.address)
        await self._audit.append(registration.profile.organization_id, event, self._clock())

    async def open_session(self, session: NewSession, address: bytes, event: AuditEvent) -> Profile:
        """Write a session and remember the client's address; the person as they are now."""
        self._open(session, address)
        await self._audit.append(session.organization_id, event, self._clock())
        return self._profile(session.user_id)

    async def find_organization(self, organization_id: UUID) -> Organization | None:
        """An organization's profile."""
        for one in self._people.values():
            if one.profile.organization_id == organization_id:
                return Organization(organization_id, one.profile.organization_name, one.profile.plan, one.sample)
        return None

    async def rotate(
        self, shown_hash: str, successor_hash: str, *, now: datetime, lifetime: timedelta, revoked_until: datetime
    ) -> Rotation | None:
        """Judge the token and apply it."""
        token = self._tokens.get(shown_hash)
        if token is None:
            return None
        session = self._sessions[token.session_id]
        state = RefreshState(token.expires_at, token.used_at, session.expires_at, self._ended.get(session.id))
        verdict = state.judge(now)
        if verdict is Verdict.REUSE:
            revocation = Revocation("session", str(session.id), now, revoked_until)
            event = AuditEvent("session.reuse_detected", session.user_id, str(session.id))
            await self.end(session.organization_id, session.id, [revocation], event)
        if verdict is Verdict.ROTATE:
            token.used_at = now
            self._tokens[successor_hash] = _Token(session.id, now + lifetime)
        if verdict not in {Verdict.ROTATE, Verdict.REPLAY}:
            return None
        return Rotation(session.id, self._profile(session.user_id))

    async def session_of_refresh(self, organization_id: UUID, user_id: UUID, shown_hash: str) -> UUID | None:
        """The living session of this person that the refresh token belongs to."""
        token = self._tokens.get(shown_hash)
        session = self._sessions[token.session_id] if token else None
        if token is None or session is None or session.id in self._ended:
            return None
        is_theirs = (session.organization_id, session.user_id) == (organization_id, user_id)
        is_living = min(token.expires_at, session.expires_at) > self._clock()
        return session.id if is_theirs and is_living else None

    async def end(
        self, organization_id: UUID, session_id: UUID, revocations: Sequence[Revocation], event: AuditEvent
    ) -> None:
        """Revoke a session and remember what must be refused."""
        now = self._clock()
        self._ended.setdefault(session_id, now)
        self._revoked |= {(one.kind, one.id): one for one in revocations}
        await self._audit.append(organization_id, event, now)

    async def find_profile(self, organization_id: UUID, user_id: UUID, session_id: UUID | None) -> Profile | None:
        """The person as they are now; None when they or their session are gone."""
        session = self._sessions.get(session_id) if session_id else None
        if session is None or session.id in self._ended or session.organization_id != organization_id:
            return None
        return self._profile(user_id)

    async def revocations(self, now: datetime) -> Sequence[Revocation]:
        """Everything that must be refused at this moment."""
        return [one for one in self._revoked.values() if one.expires_at > now]

    def _open(self, session: NewSession, address: bytes) -> None:
        self._sessions[session.id] = session
        self._tokens[session.refresh_hash] = _Token(session.id, session.token_expires_at)
        self._known.add((session.user_id, address))

    def _profile(self, user_id: UUID) -> Profile:
        return next(one.profile for one in self._people.values() if one.profile.user_id == user_id)


class MemoryThrottles(ThrottleStore):
    """Hits in a dictionary."""

    def __init__(self) -> None:
        self._hits: dict[bytes, list[datetime]] = defaultdict(list)

    async def hits(self, keys: Sequence[bytes]) -> Mapping[bytes, Sequence[datetime]]:
        """The remembered hits of each key."""
        return {key: list(self._hits[key]) for key in keys}

    async def take(self, counts: Sequence[Count], now: datetime) -> bool:
        """Add a hit to every count if each allows it, else to none."""
        if any(count.limit.wait(self._hits[count.key], now) > timedelta(0) for count in counts):
            return False
        for count in counts:
            kept = [hit for hit in self._hits[count.key] if hit > now - count.limit.kept]
            self._hits[count.key] = [*kept, now]
        return True


class MemoryKeys(KeyStore):
    """Signing keys in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, SigningKey] = {}

    async def all(self) -> Sequence[SigningKey]:
        """Every key."""
        return list(self.kept.values())

    async def add(self, key: SigningKey) -> None:
        """Keep a new key."""
        self.kept[key.id] = key

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key unless there is one already."""
        if not self.kept:
            self.kept[key.id] = key

    async def remove(self, key_ids: Sequence[str]) -> None:
        """Forget keys."""
        for key_id in key_ids:
            self.kept.pop(key_id, None)


@dataclass(slots=True)
class _Lease:
    counter: tuple[UUID, str, datetime]
    outstanding: int
    expires_at: datetime


@dataclass(slots=True)
class _Reservation:
    id: UUID
    counter: tuple[UUID, str, datetime]
    state: str
    reserved_at: datetime


@dataclass(slots=True)
class MemoryQuota(QuotaStore):
    """Counters, leases and the ledger in dictionaries; `subscriptions` maps organizations to plans."""

    subscriptions: dict[UUID, str] = field(default_factory=dict)
    counters: dict[tuple[UUID, str, datetime], Counters] = field(default_factory=lambda: defaultdict(Counters))
    leases: dict[UUID, _Lease] = field(default_factory=dict)
    ledger: set[tuple[UUID, str]] = field(default_factory=set)
    reservations: dict[tuple[UUID, str], _Reservation] = field(default_factory=dict)

    async def grant(self, asked: LeaseRequest, lease_id: UUID, now: datetime) -> Grant:
        """Lease what may be leased."""
        allowance, period, expires_at = self._allowance(asked.organization_id, asked.meter), Period.of(now), now + LEASE
        counter = (asked.organization_id, asked.meter, period.start)
        granted = self.counters[counter].grantable(allowance.limit, asked.want)
        if not granted:
            await self.close_expired(now)
            granted = self.counters[counter].grantable(allowance.limit, asked.want)
        if granted:
            self._move(counter, leased=granted)
            self.leases[lease_id] = _Lease(counter, granted, expires_at + GRACE)
        return Grant(lease_id, granted, self.counters[counter].used, allowance, expires_at, period.end)

    async def record(self, organization_id: UUID, report: Report, now: datetime) -> Recorded:
        """Write new events, raise the counters by them alone, settle their leases."""
        del now
        if report.events and organization_id not in self.subscriptions:
            raise NotFound
        taken: Counter[UUID] = Counter()
        new = 0
        for event in report.events:
            if (organization_id, event.event_id) in self.ledger:
                continue
            new += 1
            self.ledger.add((organization_id, event.event_id))
            self._move((organization_id, event.meter, Period.of(event.occurred_at).start), used=1)
            if event.lease_id:
                taken[event.lease_id] += 1
        for one in report.returns:
            taken[one.lease_id] += one.unburned
        for lease_id, units in taken.items():
            self._shrink(organization_id, lease_id, units)
        return Recorded(new, len(report.events) - new)

    async def reserve(
        self, organization_id: UUID, meter: Meter, event_id: str, reservation_id: UUID, now: datetime
    ) -> Reservation:
        """Reserve one unit, or find the reservation there is."""
        allowance, period = self._allowance(organization_id, meter), Period.of(now)
        kept = self.reservations.get((organization_id, event_id))
        if kept is None or kept.state == "refunded":
            counter = (organization_id, meter, period.start)
            if self.counters[counter].room(allowance.limit) == 0:
                raise quota_exceeded(period.end)
            self._move(counter, reserved=1)
            kept = self.reservations[organization_id, event_id] = _Reservation(reservation_id, counter, "reserved", now)
        counters = self.counters[kept.counter]
        return Reservation(kept.id, counters.used + counters.reserved, allowance.limit, Period.of(kept.counter[2]).end)

    async def settle(self, organization_id: UUID, event_id: str, outcome: Settlement, now: datetime) -> None:
        """End a reservation; again the same way is nothing."""
        del now
        kept = self.reservations.get((organization_id, event_id))
        if kept is None:
            raise NotFound
        if kept.state == outcome:
            return
        if kept.state != "reserved":
            raise Conflict(f"This reservation was {kept.state} already.")
        kept.state = outcome
        is_charged = outcome == "committed" and (organization_id, event_id) not in self.ledger
        if is_charged:
            self.ledger.add((organization_id, event_id))
        self._move(kept.counter, reserved=-1, used=int(is_charged))

    async def usage(self, organization_id: UUID, now: datetime) -> Usage:
        """The month so far."""
        period = Period.of(now)
        meters: dict[Meter, MeterUsage] = {}
        for meter in ("messages", "tasks"):
            counters = self.counters[organization_id, meter, period.start]
            limit = self._allowance(organization_id, meter).limit
            meters[meter] = MeterUsage(counters.used + counters.reserved, limit)
        plan = self.subscriptions[organization_id]
        return Usage(plan, period, meters["messages"], meters["tasks"])

    async def plans(self) -> Sequence[PlanOffer]:
        """What is on offer."""
        return PLANS

    async def close_expired(self, now: datetime) -> int:
        """Take back the unburned units of expired leases and forgotten reservations; how many were closed."""
        expired = [lease_id for lease_id, lease in self.leases.items() if lease.expires_at < now]
        for lease_id in expired:
            self._shrink(self.leases[lease_id].counter[0], lease_id, self.leases[lease_id].outstanding)
        open_ones = [item for item in self.reservations.items() if item[1].state == "reserved"]
        forgotten = [key for key, kept in open_ones if kept.reserved_at < now - FORGOTTEN]
        for organization_id, event_id in forgotten:
            await self.settle(organization_id, event_id, "refunded", now)
        return len(expired) + len(forgotten)

    def _allowance(self, organization_id: UUID, meter: Meter) -> Allowance:
        plan = next((one for one in PLANS if one.id == self.subscriptions.get(organization_id)), None)
        if plan is None:
            raise NotFound
        return Allowance(plan.id, plan.messages if meter == "messages" else plan.tasks)

    def _shrink(self, organization_id: UUID, lease_id: UUID, units: int) -> None:
        lease = self.leases.get(lease_id)
        if lease is None or lease.counter[0] != organization_id:
            return
        taken = min(units, lease.outstanding)
        lease.outstanding -= taken
        self._move(lease.counter, leased=-taken)
        if not lease.outstanding:
            del self.leases[lease_id]

    def _move(self, counter: tuple[UUID, str, datetime], *, used: int = 0, reserved: int = 0, leased: int = 0) -> None:
        now = self.counters[counter]
        self.counters[counter] = replace(
            now, used=now.used + used, reserved=now.reserved + reserved, leased=now.leased + leased
        )
