"""How the gateway's server is set up."""

from datetime import timedelta
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gateway.server.protocol import ClientConnection, GatewayServer


def server_for(app: ASGIApp, *, host: str, port: int, drain: timedelta, **overrides: Any) -> GatewayServer:  # noqa: ANN401 - uvicorn's own options
    """A server for `app`; `drain` is the time that running requests get at shutdown."""
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
        "backlog": 2048,
        "timeout_graceful_shutdown": int(drain.total_seconds()),
    }
    return GatewayServer(uvicorn.Config(app, **(options | overrides)))
