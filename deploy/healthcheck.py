#!/usr/bin/env python3
"""Health check of a container: exit 0 when the process in it answers `/health/live` on HEALTH_PORT (8000)."""

import http.client
import os
import sys

TIMEOUT = 2.0
"""Seconds; below the 3 s that the image gives the whole check."""


def is_alive(port: int) -> bool:
    """Whether the process answers; a database that is away does not make it dead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(int(os.environ.get("HEALTH_PORT", "8000"))) else 1)
