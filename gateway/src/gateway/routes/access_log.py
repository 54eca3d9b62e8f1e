"""One canonical log line and one measurement per request, both written in batches."""

import time
from datetime import UTC, datetime

import orjson

from gateway.routes.incoming import Incoming
from shared.logs import BatchedWriter
from shared.metrics import RequestMetrics


class AccessLog:
    """Formats lines itself: the same line through structlog's processors costs three times as much."""

    def __init__(self, writer: BatchedWriter | None) -> None:
        self._writer = writer

    def record(self, incoming: Incoming, metrics: RequestMetrics) -> None:
        """Log and count one request that is over; probes of liveness are counted only."""
        took = time.perf_counter() - incoming.began
        route = incoming.route
        template = route.path if route else "unmatched"
        metrics.observe(incoming.method, template, incoming.status, took)
        if self._writer is None or template in ("/health/live", "/health/ready"):
            return
        who = incoming.claims.principal if incoming.claims else None
        self._writer.write(
            orjson.dumps(
                {
                    "event": "request",
                    "level": "info",
                    "timestamp": datetime.now(UTC),
                    "service": "gateway",
                    "request_id": incoming.request_id.decode(),
                    "method": incoming.method,
                    "route": template,
                    "operation": route.operation if route else None,
                    "upstream": route.service if route else None,
                    "status": incoming.status,
                    "code": incoming.code,
                    "took_ms": round(took * 1000, 2),
                    "organization_id": who.organization_id if who else None,
                    "user_id": who.user_id if who else None,
                },
                option=orjson.OPT_UTC_Z,
            )
        )
