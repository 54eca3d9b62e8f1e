"""How the gateway's server is set up."""

import resource
import socket
from datetime import timedelta
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gateway.server.protocol import ClientConnection, GatewayServer

BACKLOG = 1024
"""Connections that may wait to be accepted: what is accepted within a tenth of a second."""
DESCRIPTORS_KEPT = 768
"""For connections to services, engines and logs."""


def server_for(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    drain: timedelta,
    max_connections: int = 8192,
    **overrides: Any,  # noqa: ANN401 - uvicorn's own options
) -> GatewayServer:
    """A server for `app` with so many clients at most; `drain` is the time that running requests get at shutdown."""
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": ClientConnection,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "backlog": BACKLOG,
        "limit_concurrency": _affordable(max_connections),
        "timeout_graceful_shutdown": int(drain.total_seconds()),
    }
    return GatewayServer(uvicorn.Config(app, **(options | overrides)))


def listener(host: str, port: int) -> socket.socket:
    """A listening socket, of either family; that of `::` takes IPv4 as well."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")


def _affordable(connections: int) -> int:
    """No more connections than there are descriptors for: without one, nobody is accepted any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + DESCRIPTORS_KEPT
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections, soft - DESCRIPTORS_KEPT))
