"""Run the gateway: `python -m gateway`."""

import signal
import socket

import uvicorn

from gateway.app import App
from gateway.server.protocol import ClientConnection, GatewayServer
from gateway.settings import GatewaySettings
from shared import logs


def main() -> None:
    """Serve until SIGTERM: stop accepting, finish what runs, end the streams, leave."""
    settings = GatewaySettings()
    logs.configure(settings.service, settings.log_level)
    app = App(settings)
    if settings.metrics_port is not None:
        app.metrics.serve(settings.host, settings.metrics_port)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=ClientConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_graceful_shutdown=int(settings.drain.total_seconds()),
    )
    # uvicorn raises the signal again once it has drained; handled here, it ends in an orderly exit with status 0
    signal.signal(signal.SIGTERM, lambda *_: None)
    inherited = None if settings.listen_fd is None else [socket.socket(fileno=settings.listen_fd)]
    GatewayServer(config).run(inherited)


if __name__ == "__main__":
    main()
