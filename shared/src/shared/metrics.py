"""Metrics that every service keeps: requests by route template, method and status; background work that ended."""

import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from shared.background import ENDED
from shared.identity import SKEWED

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

LOST = Counter(
    "lost_on_purpose_total",
    "Things that were given up so that something more important could go on; each is logged as well.",
    ("kind",),
    registry=None,
)
"""One for the process, as what loses something seldom knows its service; `kind` is a bounded set."""


class RequestMetrics:
    """`http_server_request_duration_seconds`, OpenTelemetry's name for it; labels are bounded sets."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(ENDED)
        self.registry.register(SKEWED)
        self.registry.register(LOST)
        self._histogram = Histogram(
            "http_server_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its reply.",
            ("service", "method", "route", "status"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self._service = service
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._histogram.labels(self._service, method, route, str(status))
            self._children[key] = child
        child.observe(seconds)

    def watch_clock(self, skew: Callable[[], int | None]) -> None:
        """Offer `clock_skew_seconds`: how far the clock here is ahead of an engine's; NaN while that is unknown."""
        gauge = Gauge(
            "clock_skew_seconds",
            "By how much the clock of this process is ahead of the clock of its engine.",
            ("service",),
            registry=self.registry,
        )
        gauge.labels(self._service).set_function(lambda: _seconds(skew()))

    def serve(self, host: str, port: int) -> None:
        """Offer the metrics on a port of their own, never through the gateway."""
        start_http_server(port, addr=host, registry=self.registry)


def _seconds(milliseconds: int | None) -> float:
    return math.nan if milliseconds is None else milliseconds / 1000
