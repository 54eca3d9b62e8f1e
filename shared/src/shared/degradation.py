"""What each capability promises while an engine is away: one table for /health, chaos tests and docs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Engine = Literal["postgresql", "cql", "redis_cache", "redis_data"]
EngineStatus = Literal["ok", "unavailable"]
Outage = Literal["postgresql", "cql", "redis_cache", "redis_data", "redis_data_full"]
Capability = Literal["accounts", "conversations", "cache", "notifications", "tasks", "knowledge"]
Promise = Literal["served", "refused", "served_or_refused"]

ENGINES: tuple[Engine, ...] = ("postgresql", "cql", "redis_cache", "redis_data")
OUTAGES: Mapping[Outage, str] = {
    "postgresql": "PostgreSQL away",
    "cql": "CQL away",
    "redis_cache": "redis-cache away",
    "redis_data": "redis-data away",
    "redis_data_full": "redis-data full",
}
"""What can be wrong, and how the documents call it. A server that is full, read-only or loading still answers, but it
cannot serve: it counts as away."""
CAPABILITIES: tuple[Capability, ...] = ("accounts", "conversations", "cache", "notifications", "tasks", "knowledge")


@dataclass(frozen=True, slots=True)
class Cell:
    """What one operation does while one engine is away; `note` is for people."""

    promise: Promise
    note: str = ""


SERVED = Cell("served")


@dataclass(frozen=True, slots=True)
class Row:
    """One operation of the public API against each engine; `capability` is what a refusal names."""

    operation: str
    capability: Capability
    postgresql: Cell = SERVED
    cql: Cell = SERVED
    redis_cache: Cell = SERVED
    redis_data: Cell = SERVED

    def cell(self, outage: Outage) -> Cell:
        """The promise during an outage."""
        return {
            "postgresql": self.postgresql,
            "cql": self.cql,
            "redis_cache": self.redis_cache,
            "redis_data": self.redis_data,
            "redis_data_full": self.redis_data,
        }[outage]


def _refused(note: str = "") -> Cell:
    return Cell("refused", note)


TABLE: tuple[Row, ...] = (
    Row("register", "accounts", postgresql=_refused()),
    Row("refresh", "accounts", postgresql=_refused()),
    Row("billing_usage", "accounts", postgresql=_refused()),
    Row(
        "login",
        "accounts",
        postgresql=_refused("never 401"),
        redis_data=Cell("served", "local limiter at half rate"),
    ),
    Row("bearer_check", "accounts", postgresql=Cell("served", "from keys and the revocation snapshot in memory")),
    Row(
        "send_message",
        "conversations",
        postgresql=Cell("served", "within the lease, usage journalled"),
        cql=Cell("served", 'from cache or index, `"persisted":"deferred"`, written when CQL is back'),
        redis_cache=Cell("served", "slower, in-process cache"),
        redis_data=SERVED,
    ),
    Row("history", "conversations", cql=Cell("served_or_refused", "recent turns from Redis if there")),
    Row("sessions", "conversations", cql=Cell("served_or_refused", "recent turns from Redis if there")),
    Row("feedback", "conversations", cql=Cell("served", "deferred like messages")),
    Row("knowledge_search", "knowledge", cql=Cell("served", "from the snapshot, with `as_of`")),
    Row(
        "knowledge_edit",
        "knowledge",
        postgresql=Cell("served", "with a role at most 15 minutes old"),
        cql=_refused(),
    ),
    Row(
        "knowledge_publish",
        "knowledge",
        postgresql=Cell("served", "with a role at most 15 minutes old"),
        cql=_refused(),
    ),
    Row("submit_task", "tasks", postgresql=_refused()),
    Row("task_status", "tasks", postgresql=_refused()),
    Row("notifications", "notifications", redis_data=_refused("then rebuilt from the outbox")),
    Row(
        "health",
        "accounts",
        postgresql=Cell("served", "`degraded`"),
        cql=Cell("served", "`degraded`"),
        redis_cache=Cell("served", "`degraded`"),
        redis_data=Cell("served", "`degraded`"),
    ),
)

LOST_WITH: dict[Engine, tuple[Capability, ...]] = {
    "postgresql": ("accounts", "tasks"),
    "cql": ("conversations", "knowledge"),
    "redis_cache": ("cache",),
    "redis_data": ("notifications",),
}
"""The capabilities that /health reports as not ok while an engine is away."""


def _words(cell: Cell) -> str:
    status = {"served": "200", "refused": "503", "served_or_refused": "200 or 503"}[cell.promise]
    return f"{status}, {cell.note}" if cell.note else status


def as_markdown() -> Iterator[str]:
    """The table as lines of Markdown, for docs/architecture.md."""
    yield f"| | {' | '.join(OUTAGES.values())} |"
    yield "|---" * (len(OUTAGES) + 1) + "|"
    for row in TABLE:
        cells = " | ".join(_words(row.cell(outage)) for outage in OUTAGES)
        yield f"| {row.operation.replace('_', ' ')} | {cells} |"
