"""The desired state of the stack: options of `faq up`, the environment, and `.env` in the checkout."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from dotenv import dotenv_values

PREFIXES = (*("GATEWAY_", "AUTH_", "CHAT_", "KNOWLEDGE_", "NOTIFICATION_", "TASK_", "POSTGRES_", "REDIS_", "SCYLLA_"),)
NAMES = ("LOG_LEVEL", "CURSOR_KEY", "INTERNAL_IDENTITY_KEY", "METRICS_PORT")
TOOLING = (
    *("PATH", "JAVA_HOME", "MULTIDB_CACHE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What a download or a search for Java depends on: a later `faq up` brings its own."""
GATEWAY_PORT = 8000
NODES = (1, 3)
MOST_REPLICAS = 16


class InvalidDesiredState(ValueError):
    """Something was asked for that cannot be had; the message says what would do."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """How the stack should look; settings are passed on to every process that knows their names."""

    gateway_port: int = GATEWAY_PORT
    nodes: int | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    tooling: Mapping[str, str] = field(default_factory=dict)

    @property
    def gateway_host(self) -> str:
        """The address the gateway listens on."""
        return self.settings.get("GATEWAY_HOST", "127.0.0.1")

    def to_json(self) -> dict[str, Any]:
        """For the control socket."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From `to_json`."""
        return cls(**raw)


def gather(
    environment: Mapping[str, str], dotenv: Path, replicas: Iterable[str] = (), nodes: int | None = None
) -> DesiredState:
    """Options over the environment over `.env`. Raises InvalidDesiredState."""
    settings = {**read_dotenv(dotenv), **{name: value for name, value in environment.items() if is_setting(name)}}
    settings = {name: value for name, value in settings.items() if value}
    if nodes is not None and nodes not in NODES:
        raise InvalidDesiredState(f"--nodes takes {NODES[0]} or {NODES[1]}, not {nodes}")
    return DesiredState(
        gateway_port=_port(settings.get("GATEWAY_PORT", str(GATEWAY_PORT))),
        nodes=nodes,
        replicas=dict(map(_replicas, replicas)),
        settings=settings,
        tooling={name: environment[name] for name in TOOLING if name in environment},
    )


def is_setting(name: str) -> bool:
    """Whether an environment variable is one of ours."""
    return name in NAMES or name.startswith(PREFIXES)


def read_dotenv(path: Path) -> dict[str, str]:
    """What a `.env` file says, nothing without one; `$` stands for itself. Raises InvalidDesiredState."""
    try:
        return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}
    except UnicodeDecodeError as error:
        raise InvalidDesiredState(f"{path} is not UTF-8: save it as UTF-8 and try again") from error


def base_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What every process inherits: the environment without our settings.

    Byte code is written even where the shell says otherwise: without it each start compiles every module again.
    """
    kept = {name: value for name, value in environment.items() if not is_setting(name)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65_536:  # noqa: PLR2004 - the range of ports
        raise InvalidDesiredState(f"GATEWAY_PORT takes a number from 1 to 65535, not {text!r}")
    return int(text)


def _replicas(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not count.isdigit() or not 1 <= int(count) <= MOST_REPLICAS:
        raise InvalidDesiredState(f"--replicas takes NAME=COUNT with a count from 1 to {MOST_REPLICAS}, not {text!r}")
    return name, int(count)
