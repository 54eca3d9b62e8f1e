"""Run the gateway: `python -m gateway`."""

import signal
import socket

from gateway.app import App
from gateway.server.running import listener, server_for
from gateway.settings import GatewaySettings
from shared import logs
from shared.settings import read_settings


def main() -> None:
    """Serve until SIGTERM: stop accepting, finish what runs, end the streams, leave."""
    settings = read_settings(GatewaySettings)
    logs.configure(settings.service, settings.log_level)
    app = App(settings)
    if settings.metrics_port is not None:
        app.metrics.serve(settings.host, settings.metrics_port)
    server = server_for(
        app,
        host=settings.host,
        port=settings.port,
        drain=settings.drain,
        max_connections=settings.max_connections,
    )
    # uvicorn raises the signal again once it has drained; handled here, it ends in an orderly exit with status 0
    signal.signal(signal.SIGTERM, lambda *_: None)
    inherited = settings.listen_fd
    server.run([listener(settings.host, settings.port) if inherited is None else socket.socket(fileno=inherited)])


if __name__ == "__main__":
    main()
