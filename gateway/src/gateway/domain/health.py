"""What /health says: every service and database, and what their absence costs."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from shared.degradation import CAPABILITIES, ENGINES, LOST_WITH, TABLE, Capability, Engine, EngineStatus

Status = Literal["ok", "degraded", "unavailable"]

PROVIDED_BY: Mapping[str, Capability] = {
    "auth-service": "accounts",
    "chat-service": "conversations",
    "knowledge-service": "knowledge",
    "notification-service": "notifications",
    "task-worker": "tasks",
}
"""The capability that is gone with the last replica of a service."""


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What one replica said of the databases it uses; None when it did not answer."""

    databases: Mapping[str, EngineStatus] | None
    clock_skew_ms: int | None = None


class ServiceSummary(TypedDict):
    """One service: how many of its known replicas answer, and the clock among them that is most wrong."""

    status: Status
    replicas: int
    known: int
    clock_skew_ms: int | None


class Health(TypedDict):
    """The body of GET /health."""

    status: Literal["ok", "degraded"]
    version: str
    capabilities: dict[str, Status]
    services: dict[str, ServiceSummary]
    databases: dict[str, dict[str, str]]


def summarize(
    version: str, reports: Mapping[str, Sequence[ReplicaReport]], own: Mapping[Engine, EngineStatus]
) -> Health:
    """The whole from its parts: reports of every service's replicas, and the gateway's own view of its engines."""
    services = {name: _service(replicas) for name, replicas in reports.items()}
    away = _engines_away(reports, own)
    capabilities: dict[str, Status] = dict.fromkeys(CAPABILITIES, "ok")
    for engine in away:
        for capability in LOST_WITH[engine]:
            capabilities[capability] = _worse(capabilities[capability], _loss(capability, engine))
    for name, capability in PROVIDED_BY.items():
        if name in services:
            capabilities[capability] = _worse(capabilities[capability], services[name]["status"])
    well = not away and all(service["status"] == "ok" for service in services.values())
    return Health(
        status="ok" if well else "degraded",
        version=version,
        capabilities=capabilities,
        services=services,
        databases={engine: {"status": "unavailable" if engine in away else "ok"} for engine in ENGINES},
    )


def _service(replicas: Sequence[ReplicaReport]) -> ServiceSummary:
    live = sum(replica.databases is not None for replica in replicas)
    status: Status = "unavailable" if not live else "ok" if live == len(replicas) else "degraded"
    skews = [replica.clock_skew_ms for replica in replicas if replica.clock_skew_ms is not None]
    worst = max(skews, key=abs, default=None)
    return ServiceSummary(status=status, replicas=live, known=len(replicas), clock_skew_ms=worst)


def _engines_away(reports: Mapping[str, Sequence[ReplicaReport]], own: Mapping[Engine, EngineStatus]) -> set[Engine]:
    away = {engine for engine, status in own.items() if status == "unavailable"}
    for replica in itertools.chain.from_iterable(reports.values()):
        databases = replica.databases or {}
        away |= {engine for engine in ENGINES if databases.get(engine) == "unavailable"}
    return away


def _loss(capability: Capability, engine: Engine) -> Status:
    """Unavailable when everything that stands in the table for this capability is refused without the engine."""
    rows = [row for row in TABLE if row.capability == capability and row.operation != "health"]
    return "unavailable" if all(row.cell(engine).promise == "refused" for row in rows) else "degraded"


def _worse(one: Status, other: Status) -> Status:
    order: tuple[Status, ...] = ("ok", "degraded", "unavailable")
    return max(one, other, key=order.index)
