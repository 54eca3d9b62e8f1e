"""Looks at every replica of every service once a second, in the background: /health is only ever read from memory."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog
from pydantic import ValidationError

from gateway.clients.calls import OwnCalls
from gateway.clients.connection import ReplicaFailed
from gateway.clients.upstream import Replica
from gateway.domain.health import Health, ReplicaReport, summarize
from shared.contracts.health import ServiceHealth
from shared.degradation import Engine, EngineStatus
from shared.errors import DeadlineExceeded, ServiceError

log = structlog.get_logger()

EVERY = timedelta(seconds=1).total_seconds()
SILENCES = 2
"""Probes in a row that a replica may leave unanswered before it counts as away."""
UNREADABLE = ServiceHealth(service="", version="", databases={})
"""What counts as said by a replica that answered something else."""


class Monitor:
    """Keeps `health`, and tells the upstreams which replicas do not answer (a frozen one takes connections still)."""

    def __init__(
        self, version: str, services: Sequence[OwnCalls], own: Callable[[], Mapping[Engine, EngineStatus]]
    ) -> None:
        self._version = version
        self._services = services
        self._own = own
        self.health: Health = summarize(version, {calls.upstream.service: [] for calls in services}, {})

    async def look(self) -> None:
        """Ask every replica once; takes at most a second."""
        found = await asyncio.gather(*(self._service(calls) for calls in self._services))
        before, self.health = self.health, summarize(self._version, dict(found), self._own())
        if before["status"] != self.health["status"]:
            log.warning("health_changed", status=self.health["status"], capabilities=self.health["capabilities"])

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def _service(self, calls: OwnCalls) -> tuple[str, list[ReplicaReport]]:
        reports = await asyncio.gather(*(self._replica(calls, replica) for replica in calls.upstream.replicas))
        return calls.upstream.service, list(reports)

    async def _replica(self, calls: OwnCalls, replica: Replica) -> ReplicaReport:
        """A refused connection counts at once; silence only the second time, since a busy machine may be late once."""
        try:
            said = ServiceHealth.model_validate_json(await calls.probe(replica, "/internal/health"))
        except (ReplicaFailed, DeadlineExceeded) as error:
            replica.missed += 1 if getattr(error, "timed_out", True) else SILENCES
            replica.is_well = replica.missed < SILENCES
            return ReplicaReport(replica.databases if replica.is_well else None)
        except (ServiceError, ValidationError) as error:
            log.warning("health_unreadable", upstream=calls.upstream.service, error=repr(error))
            said = UNREADABLE
        replica.missed, replica.is_well, replica.databases = 0, True, said.databases
        return ReplicaReport(said.databases, said.clock_skew_ms)
