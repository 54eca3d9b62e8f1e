"""Process specs: a replica of an engine, a service or a worker, or a one-shot, and when it counts as ready."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from local_stack.engines.engine import Engine
from local_stack.process import Launch

Kind = Literal["engine", "service", "worker", "one-shot"]
PROBE = 1.0  # seconds for one look at a service


def _nothing() -> None:
    """Nothing to prepare."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What the supervisor keeps running. `fingerprint` changes when the process has to be restarted to match."""

    name: str
    replica: int
    kind: Kind
    launch: Callable[[], Launch]
    answers: Callable[[], bool]
    fingerprint: object
    prepare: Callable[[], None] = _nothing
    url: str | None = None
    after: frozenset[str] = frozenset()
    stamp: str = ""

    @property
    def key(self) -> str:
        """The name of this replica."""
        return self.name if self.replica == 1 else f"{self.name}-{self.replica}"


def engine_spec(engine: Engine) -> ProcessSpec:
    """An engine of our own."""
    return ProcessSpec(
        name=engine.name,
        replica=engine.replica,
        kind="engine",
        launch=engine.launch,
        answers=engine.answers,
        fingerprint=engine,
        prepare=engine.prepare,
        url=engine.url,
    )


def service_spec(launch: Launch, url: str, after: frozenset[str]) -> ProcessSpec:
    """The API process of a service; ready when it says so."""
    where = urlsplit(url)
    host, port = str(where.hostname), int(where.port or 80)
    return ProcessSpec(
        name=launch.name,
        replica=launch.replica,
        kind="service",
        launch=lambda: launch,
        answers=lambda: service_answers(host, port),
        fingerprint=launch,
        url=url,
        after=after,
    )


def worker_spec(launch: Launch, after: frozenset[str]) -> ProcessSpec:
    """A process without a port: ready as soon as it runs."""
    return ProcessSpec(
        name=launch.name,
        replica=launch.replica,
        kind="worker",
        launch=lambda: launch,
        answers=lambda: True,
        fingerprint=launch,
        after=after,
    )


def one_shot_spec(launch: Launch, after: frozenset[str], stamp: str) -> ProcessSpec:
    """A command that has to succeed once; with the same stamp it is not run again."""
    return ProcessSpec(
        name=launch.name,
        replica=launch.replica,
        kind="one-shot",
        launch=lambda: launch,
        answers=lambda: False,
        fingerprint=launch,
        after=after,
        stamp=stamp,
    )


def service_answers(host: str, port: int, path: str = "/health/ready") -> bool:
    """Whether a service answers 200 to its readiness probe."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    with suppress(OSError), socket.create_connection((host, port), PROBE) as link:
        link.sendall(request.encode())
        return link.recv(16).split(b" ")[1:2] == [b"200"]
    return False
