"""Quota counters, leases, reservations and the usage ledger in PostgreSQL."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from auth_service.domain.quota import (
    FORGOTTEN,
    GRACE,
    LEASE,
    SHARE,
    Allowance,
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
    UsageEvent,
    quota_exceeded,
)
from auth_service.store.tenancy import say_maintenance
from shared.errors import Conflict, NotFound
from shared.postgres import Postgres

ALLOWANCE = """
SELECT s.plan_id AS plan, CASE WHEN l.unlimited THEN NULL ELSE l.units END AS units
FROM subscriptions s JOIN plan_limits l ON l.plan_id = s.plan_id
WHERE s.organization_id = $1 AND l.meter = $2"""
USED = """
SELECT used + reserved FROM quota_periods WHERE organization_id = $1 AND meter = $2 AND starts_at = $3"""
BEGIN_PERIOD = """
INSERT INTO quota_periods (organization_id, meter, starts_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"""
# One conditional UPDATE: the row's lock and the limit in its WHERE keep the sum of grants within the plan, whoever
# asks at the same time. The plan is joined in, so that an upgrade counts from the next grant on.
ROOM = "(l.units - q.used - q.reserved - q.leased)"
GRANTABLE = f"CASE WHEN l.unlimited THEN $4 ELSE least($4, {ROOM}, greatest(1, {ROOM} / {SHARE})) END"
GRANT = f"""
UPDATE quota_periods q SET leased = q.leased + {GRANTABLE}, last_grant = {GRANTABLE}
FROM subscriptions s JOIN plan_limits l ON l.plan_id = s.plan_id
WHERE q.organization_id = $1 AND q.meter = $2 AND q.starts_at = $3
AND s.organization_id = q.organization_id AND l.meter = q.meter AND (l.unlimited OR {ROOM} > 0)
RETURNING q.last_grant, q.used"""  # noqa: S608 - built from constants
KEEP_LEASE = """
INSERT INTO quota_leases (organization_id, meter, starts_at, id, holder, granted, outstanding, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7)"""

RECORD = """
INSERT INTO usage_events (organization_id, event_id, meter, starts_at, lease_id, occurred_at, recorded_at)
SELECT $1, event.id, event.meter, event.starts_at, event.lease_id, event.occurred_at, $7
FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::uuid[], $6::timestamptz[])
AS event (id, meter, starts_at, lease_id, occurred_at)
ON CONFLICT (organization_id, event_id) DO NOTHING
RETURNING meter, starts_at, lease_id"""
MOVE = """
UPDATE quota_periods SET used = used + $4, reserved = reserved - $5, leased = leased - $6
WHERE organization_id = $1 AND meter = $2 AND starts_at = $3"""
LOCK_LEASE = """
SELECT meter, starts_at, outstanding FROM quota_leases WHERE organization_id = $1 AND id = $2 FOR UPDATE"""
SHRINK_LEASE = "UPDATE quota_leases SET outstanding = outstanding - $3 WHERE organization_id = $1 AND id = $2"
END_LEASE = "DELETE FROM quota_leases WHERE organization_id = $1 AND id = $2"

KEEP_RESERVATION = """
INSERT INTO quota_reservations (organization_id, meter, starts_at, event_id, id, state, reserved_at)
VALUES ($1, $2, $3, $4, $5, 'reserved', $6) ON CONFLICT (organization_id, event_id) DO NOTHING RETURNING true"""
LOCK_RESERVATION = """
SELECT id, meter, starts_at, state FROM quota_reservations WHERE organization_id = $1 AND event_id = $2 FOR UPDATE"""
RESERVE_AGAIN = """
UPDATE quota_reservations SET id = $3, starts_at = $4, state = 'reserved', reserved_at = $5, settled_at = NULL
WHERE organization_id = $1 AND event_id = $2"""
RESERVE = f"""
UPDATE quota_periods q SET reserved = q.reserved + 1
FROM subscriptions s JOIN plan_limits l ON l.plan_id = s.plan_id
WHERE q.organization_id = $1 AND q.meter = $2 AND q.starts_at = $3
AND s.organization_id = q.organization_id AND l.meter = q.meter AND (l.unlimited OR {ROOM} > 0)
RETURNING q.used + q.reserved"""  # noqa: S608 - built from constants
SETTLE = """
UPDATE quota_reservations SET state = $3, settled_at = $4 WHERE organization_id = $1 AND event_id = $2"""

MONTH = """
SELECT meter, used, reserved, leased FROM quota_periods WHERE organization_id = $1 AND starts_at = $2"""
LIMITS = """
SELECT l.meter, s.plan_id AS plan, CASE WHEN l.unlimited THEN NULL ELSE l.units END AS units
FROM subscriptions s JOIN plan_limits l ON l.plan_id = s.plan_id WHERE s.organization_id = $1"""
PLANS = """
SELECT p.id, p.name, l.meter, CASE WHEN l.unlimited THEN NULL ELSE l.units END AS units
FROM plans p JOIN plan_limits l ON l.plan_id = p.id ORDER BY p.position"""
EXPIRED = """
SELECT organization_id, id FROM quota_leases WHERE expires_at < $1 ORDER BY organization_id, id LIMIT 500"""
EXPIRED_OF = "SELECT id FROM quota_leases WHERE organization_id = $1 AND meter = $2 AND expires_at < $3"
FORGOTTEN_RESERVATIONS = """
SELECT organization_id, event_id FROM quota_reservations WHERE state = 'reserved' AND reserved_at < $1 LIMIT 500"""

Place = tuple[str, datetime]
"""A counter row of an organization: meter and start of its month."""


class PostgresQuota(QuotaStore):
    """Where the counters and the ledger are.

    Locks are always taken in the order leases, reservations, periods, and within one kind by id, so that nobody waits
    in a circle.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def grant(self, asked: LeaseRequest, lease_id: UUID, now: datetime) -> Grant:
        """Lease what may be leased in one conditional write."""
        period, expires_at = Period.of(now), now + LEASE
        async with self._postgres.transaction(str(asked.organization_id)) as connection:
            allowance = await _allowance(connection, asked.organization_id, asked.meter)
            counter = (asked.organization_id, asked.meter, period.start)
            granted = await connection.fetchrow(GRANT, *counter, asked.want)
            if granted is None:
                await _make_room(connection, asked.organization_id, (asked.meter, period.start), now)
                granted = await connection.fetchrow(GRANT, *counter, asked.want)
            if granted is None:
                used: int = await connection.fetchval(USED, *counter)
                return Grant(lease_id, 0, used, allowance, expires_at, period.end)
            await connection.execute(
                KEEP_LEASE, *counter, lease_id, asked.holder, granted["last_grant"], expires_at + GRACE
            )
        return Grant(lease_id, granted["last_grant"], granted["used"], allowance, expires_at, period.end)

    async def record(self, organization_id: UUID, report: Report, now: datetime) -> Recorded:
        """Write new events, raise the counters by them alone, settle their leases; all or nothing."""
        try:
            async with self._postgres.transaction(str(organization_id)) as connection:
                new = await _write_events(connection, organization_id, report.events, now)
                taken = Counter(row["lease_id"] for row in new if row["lease_id"] is not None)
                for one in report.returns:
                    taken[one.lease_id] += one.unburned
                unleased = await _shrink_leases(connection, organization_id, taken)
                used = Counter((row["meter"], row["starts_at"]) for row in new)
                for place in sorted(used.keys() | unleased.keys()):
                    await connection.execute(MOVE, organization_id, *place, used[place], 0, unleased[place])
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound from error
        return Recorded(len(new), len(report.events) - len(new))

    async def reserve(
        self, organization_id: UUID, meter: Meter, event_id: str, reservation_id: UUID, now: datetime
    ) -> Reservation:
        """Reserve one unit, or find the reservation there is."""
        period = Period.of(now)
        async with self._postgres.transaction(str(organization_id)) as connection:
            allowance = await _allowance(connection, organization_id, meter)
            counter = (organization_id, meter, period.start)
            await connection.execute(BEGIN_PERIOD, *counter)
            is_new = await connection.fetchval(KEEP_RESERVATION, *counter, event_id, reservation_id, now)
            if not is_new:
                kept = await connection.fetchrow(LOCK_RESERVATION, organization_id, event_id)
                if kept["state"] != "refunded":
                    used = await connection.fetchval(USED, organization_id, kept["meter"], kept["starts_at"])
                    return Reservation(kept["id"], used, allowance.limit, Period.of(kept["starts_at"]).end)
                await connection.execute(RESERVE_AGAIN, organization_id, event_id, reservation_id, period.start, now)
            used = await connection.fetchval(RESERVE, *counter)
            if used is None:
                raise quota_exceeded(period.end)
        return Reservation(reservation_id, used, allowance.limit, period.end)

    async def settle(self, organization_id: UUID, event_id: str, outcome: Settlement, now: datetime) -> None:
        """End a reservation; again the same way is nothing."""
        async with self._postgres.transaction(str(organization_id)) as connection:
            kept = await connection.fetchrow(LOCK_RESERVATION, organization_id, event_id)
            if kept is None:
                raise NotFound
            if kept["state"] == outcome:
                return
            if kept["state"] != "reserved":
                raise Conflict(f"This reservation was {kept['state']} already.")
            await connection.execute(SETTLE, organization_id, event_id, outcome, now)
            charged = 0
            if outcome == "committed":
                event = UsageEvent(event_id, kept["meter"], None, now)
                charged = len(await _insert_events(connection, organization_id, [event], [kept["starts_at"]], now))
            await connection.execute(MOVE, organization_id, kept["meter"], kept["starts_at"], charged, 1, 0)

    async def usage(self, organization_id: UUID, now: datetime) -> Usage:
        """The month so far."""
        period = Period.of(now)
        async with self._postgres.transaction(str(organization_id)) as connection:
            limits = await connection.fetch(LIMITS, organization_id)
            counters = await connection.fetch(MONTH, organization_id, period.start)
        if not limits:
            raise NotFound
        used = {row["meter"]: row["used"] + row["reserved"] for row in counters}
        meters = {row["meter"]: MeterUsage(used.get(row["meter"], 0), row["units"]) for row in limits}
        return Usage(limits[0]["plan"], period, meters["messages"], meters["tasks"])

    async def plans(self) -> Sequence[PlanOffer]:
        """What is on offer, smallest first."""
        async with self._postgres.connection() as connection:
            rows = await connection.fetch(PLANS)
        units = {(row["id"], row["meter"]): row["units"] for row in rows}
        names = {row["id"]: row["name"] for row in rows}
        return [PlanOffer(id_, name, units[id_, "messages"], units[id_, "tasks"]) for id_, name in names.items()]

    async def close_expired(self, now: datetime) -> int:
        """Take back the unburned units of expired leases; how many were closed."""
        async with self._postgres.transaction() as connection:
            await say_maintenance(connection)
            leases = await connection.fetch(EXPIRED, now)
            reservations = await connection.fetch(FORGOTTEN_RESERVATIONS, now - FORGOTTEN)
        for row in leases:
            async with self._postgres.transaction(str(row["organization_id"])) as connection:
                await _end_leases(connection, row["organization_id"], [row["id"]])
        for row in reservations:
            await self.settle(row["organization_id"], row["event_id"], "refunded", now)
        return len(leases) + len(reservations)


async def _allowance(connection: asyncpg.Connection, organization_id: UUID, meter: Meter) -> Allowance:
    row = await connection.fetchrow(ALLOWANCE, organization_id, meter)
    if row is None:
        raise NotFound
    return Allowance(row["plan"], row["units"])


async def _make_room(connection: asyncpg.Connection, organization_id: UUID, place: Place, now: datetime) -> None:
    """Before a grant is refused: the month's counter is there, and what has expired is taken back."""
    rows = await connection.fetch(EXPIRED_OF, organization_id, place[0], now)
    await _end_leases(connection, organization_id, [row["id"] for row in rows])
    await connection.execute(BEGIN_PERIOD, organization_id, *place)


async def _write_events(
    connection: asyncpg.Connection, organization_id: UUID, events: Sequence[UsageEvent], now: datetime
) -> Sequence[asyncpg.Record]:
    """Write events into the ledger; the rows that were new."""
    if not events:
        return []
    ordered = sorted(events, key=lambda event: event.event_id)
    months = [Period.of(event.occurred_at).start for event in ordered]
    for meter, month in sorted({(event.meter, month) for event, month in zip(ordered, months, strict=True)}):
        await connection.execute(BEGIN_PERIOD, organization_id, meter, month)
    return await _insert_events(connection, organization_id, ordered, months, now)


async def _insert_events(
    connection: asyncpg.Connection,
    organization_id: UUID,
    events: Sequence[UsageEvent],
    months: Sequence[datetime],
    now: datetime,
) -> Sequence[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        RECORD,
        organization_id,
        [event.event_id for event in events],
        [event.meter for event in events],
        months,
        [event.lease_id for event in events],
        [event.occurred_at for event in events],
        now,
    )
    return rows


async def _shrink_leases(
    connection: asyncpg.Connection, organization_id: UUID, units: Mapping[UUID, int]
) -> Counter[Place]:
    """Take units off leases that were burned or came back; what their counters have to be lowered by.

    A lease that was closed has nothing left to take: its late usage is recorded, and its units came back before.
    """
    unleased: Counter[Place] = Counter()
    for lease_id in sorted(units):
        lease = await connection.fetchrow(LOCK_LEASE, organization_id, lease_id)
        if lease is None:
            continue
        taken = min(units[lease_id], lease["outstanding"])
        if taken == lease["outstanding"]:
            await connection.execute(END_LEASE, organization_id, lease_id)
        else:
            await connection.execute(SHRINK_LEASE, organization_id, lease_id, taken)
        unleased[lease["meter"], lease["starts_at"]] += taken
    return unleased


async def _end_leases(connection: asyncpg.Connection, organization_id: UUID, lease_ids: Sequence[UUID]) -> None:
    whole = dict.fromkeys(lease_ids, sys.maxsize)
    unleased = await _shrink_leases(connection, organization_id, whole)
    for place in sorted(unleased):
        await connection.execute(MOVE, organization_id, *place, 0, 0, unleased[place])
