"""Structured logs: one JSON object per line, written in batches so that a line costs microseconds."""

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
FLUSH_EVERY = 0.2
REDACTED = frozenset(
    {"password", "token", "authorization", "refresh_token", "access_token", "email", "secret", "message"}
)


class BatchedWriter:
    """Collects lines and writes them from one thread every 200 ms; `flush` writes at once.

    A write system call per line was the dearest part of logging; a crash by signal loses at most 200 ms of lines.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()
        atexit.register(self.flush)

    def write(self, line: bytes) -> None:
        """Queue a line for the next batch."""
        self._lines.append(line)

    def flush(self) -> None:
        """Write what is queued."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                self._file.write(b"\n".join(lines) + b"\n")
                self._file.flush()

    def _run(self) -> None:
        while not self._wake.wait(FLUSH_EVERY):
            self.flush()


class _Logger:
    """What structlog calls with the rendered line."""

    def __init__(self, writer: BatchedWriter) -> None:
        self._writer = writer

    def msg(self, line: bytes) -> None:
        self._writer.write(line)

    debug = info = msg

    def warning(self, line: bytes) -> None:
        self._writer.write(line)
        self._writer.flush()

    warn = error = critical = exception = fatal = failure = err = warning


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank the values that must never be in a log, whoever put them there."""
    for key in REDACTED & event.keys():
        event[key] = "[redacted]"
    return event


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return orjson.dumps(event, default=repr, option=orjson.OPT_UTC_Z)


class _StandardHandler(logging.Handler):
    """Sends what libraries log through the standard module the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        details: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            details["error"] = repr(record.exc_info[1])
        log.log(record.levelno, record.getMessage(), **details)


_write_request: Callable[..., None] | None = None
"""How the line of a request is written in a configured process that logs at INFO; None before, and in tests."""


def log_request(**fields: Any) -> None:  # noqa: ANN401 - JSON values
    """The canonical line of a request; the same line through structlog's processors costs four times as much."""
    if _write_request is None:
        structlog.get_logger().info("request", **fields)
    else:
        _write_request(**fields)


def _request_writer(service: str, writer: BatchedWriter) -> Callable[..., None]:
    def write(**fields: Any) -> None:  # noqa: ANN401 - JSON values
        now = datetime.now(UTC).isoformat()
        writer.write(
            orjson.dumps({"event": "request", "level": "info", "timestamp": now, "service": service, **fields})
        )

    return write


def _no_request(**_fields: Any) -> None:  # noqa: ANN401 - as above
    pass


def configure(service: str, level: str = "INFO") -> None:
    """Send every log line of this process to standard output as JSON."""
    threshold = LEVELS.get(level.upper(), logging.INFO)
    writer = BatchedWriter(sys.stdout.buffer)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Logger(writer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    global _write_request  # noqa: PLW0603 - logging is a matter of the whole process
    _write_request = _request_writer(service, writer) if threshold <= logging.INFO else _no_request
    logging.basicConfig(handlers=[_StandardHandler()], level=max(threshold, logging.WARNING), force=True)
