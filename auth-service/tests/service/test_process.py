"""The process itself: it starts whatever is away, and ends when it is asked to."""

import os
import signal
import socket
import subprocess
import sys

import httpx2

from shared.testing import eventually_blocking

SECRETS = ("INTERNAL_IDENTITY_KEY", "CURSOR_KEY", "AUTH_PASSWORD_PEPPER", "AUTH_SIGNING_KEY_SECRET")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_it_starts_without_postgresql_and_ends_well_when_asked() -> None:
    port = free_port()
    environment = {
        **dict.fromkeys(SECRETS, "a secret for tests only, never used outside them"),
        "AUTH_POSTGRES_APP_PASSWORD": "unused",
        "POSTGRES_PORT": "9",
        "AUTH_PORT": str(port),
        "PATH": os.defpath,
    }
    process = subprocess.Popen([sys.executable, "-m", "auth_service"], env=environment, stdout=subprocess.DEVNULL)
    try:
        eventually_blocking(
            lambda: httpx2.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).status_code == 200,
            20,
            despite=(httpx2.TransportError,),
        )
    finally:
        process.send_signal(signal.SIGTERM)

    assert process.wait(10) == 0
