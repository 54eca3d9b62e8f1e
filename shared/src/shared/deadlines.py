"""How long a request may still take, carried from hop to hop in a header and inside a process in a context variable."""

import time
from contextvars import ContextVar
from datetime import timedelta

HEADER = b"x-deadline-ms"
WHOLE_REQUEST = timedelta(seconds=5)

_ends_at: ContextVar[float | None] = ContextVar("deadline", default=None)


def begin(header: bytes | None, at_most: timedelta = WHOLE_REQUEST) -> None:
    """Start the clock of this request: the caller's remaining milliseconds, never more than `at_most`."""
    allowed = at_most.total_seconds()
    if header is not None and header.isdigit():
        allowed = min(allowed, int(header[:9]) / 1000)
    _ends_at.set(time.monotonic() + allowed)


def lift() -> None:
    """Take the limit away: for streams and work that outlives its request."""
    _ends_at.set(None)


def remaining(at_most: timedelta) -> float:
    """Seconds that a call may take: what is left of the request, never more than `at_most`, at least 1 ms."""
    ends_at = _ends_at.get()
    limit = at_most.total_seconds()
    return limit if ends_at is None else max(0.001, min(limit, ends_at - time.monotonic()))
