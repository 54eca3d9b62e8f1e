"""A set of engines in one folder on free ports, for tests and for development: start, use, stop."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from local_stack.engines.cassandra import TOKENS, Cassandra, CassandraPorts
from local_stack.engines.engine import Engine, EngineUnavailable
from local_stack.engines.jars import Progress, fetch_jars
from local_stack.engines.postgresql import HOST, OWNER, PostgreSQL
from local_stack.engines.valkey import Valkey
from local_stack.ports import assign_ports
from local_stack.process import Child, spawn

VARIABLE = "MULTIDB_TEST_ENGINES"
START_LIMIT = timedelta(seconds=90)
NAMES = ("postgresql", "redis-cache", "redis-data", "cassandra")


@dataclass(frozen=True, slots=True)
class PostgreSQLAddress:
    """Where PostgreSQL is and how its owner logs in."""

    host: str
    port: int
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class CqlAddress:
    """The nodes of a CQL cluster."""

    hosts: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class EngineAddresses:
    """Where each engine of a set is; None for one that was not asked for."""

    postgresql: PostgreSQLAddress | None
    redis_cache: str | None
    redis_data: str | None
    cql: CqlAddress | None

    @classmethod
    def from_environment(cls) -> Self | None:
        """The engines named by `MULTIDB_TEST_ENGINES`, if it is set."""
        text = os.environ.get(VARIABLE)
        return cls.parse(text) if text else None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the JSON that `to_json` gives."""
        raw = json.loads(text)
        cql = raw.get("cql")
        return cls(
            postgresql=PostgreSQLAddress(**raw["postgresql"]) if raw.get("postgresql") else None,
            redis_cache=raw.get("redis_cache"),
            redis_data=raw.get("redis_data"),
            cql=CqlAddress(tuple(cql["hosts"]), cql["port"]) if cql else None,
        )

    def to_json(self) -> str:
        """One line for `MULTIDB_TEST_ENGINES`."""
        return json.dumps(asdict(self))


class EngineSet:
    """Engines started together; a context manager. They end with the process that started them."""

    def __init__(self, folder: Path, names: Sequence[str] = NAMES, *, nodes: int = 1, durable: bool = False) -> None:
        self._folder = folder.resolve()
        self._names = names
        self._nodes = nodes
        self._durable = durable
        self._password = os.urandom(12).hex()
        self._children: list[Child] = []
        self._engines: list[Engine] = []

    def __enter__(self) -> EngineAddresses:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, progress: Progress | None = None) -> EngineAddresses:
        """Start them all and wait until each answers. Raises EngineUnavailable."""
        if "cassandra" in self._names:
            fetch_jars(progress=progress)
        self._engines, addresses = self._compose()
        try:
            for engine in reversed(self._engines):  # Cassandra first: it takes longest
                engine.prepare()
                self._children.append(spawn(engine.launch()))
            self._wait()
        except BaseException:
            self.stop()
            raise
        return addresses

    def stop(self) -> None:
        """Stop them all, side by side."""
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            if not child.wait(child.launch.grace):
                child.kill()
        self._children.clear()

    def child(self, name: str) -> Child:
        """The process of an engine, for a test that wants to freeze or kill it."""
        return next(child for child in self._children if child.launch.name == name)

    def _compose(self) -> tuple[list[Engine], EngineAddresses]:
        hosts = tuple(f"127.0.0.{number}" for number in range(1, self._nodes + 1))
        jmx = [f"jmx-{number}" for number in range(1, self._nodes + 1)]
        ports = assign_ports([*NAMES, "storage", "ssl-storage", *jmx], {}, hosts)
        engines: list[Engine] = [
            PostgreSQL(
                self._folder / "postgresql",
                self._log("postgresql"),
                ports["postgresql"],
                self._password,
                durable=self._durable,
                max_connections=300,
            ),
            Valkey("cache", self._folder / "redis-cache", self._log("redis-cache"), ports["redis-cache"]),
            Valkey("data", self._folder / "redis-data", self._log("redis-data"), ports["redis-data"]),
        ]
        engines += self._nodes_of_cassandra(
            CassandraPorts(
                ports["cassandra"], ports["storage"], ports["ssl-storage"], tuple(ports[name] for name in jmx)
            )
        )
        wanted = set(self._names)
        addresses = EngineAddresses(
            postgresql=PostgreSQLAddress(HOST, ports["postgresql"], OWNER, self._password)
            if "postgresql" in wanted
            else None,
            redis_cache=f"redis://{HOST}:{ports['redis-cache']}" if "redis-cache" in wanted else None,
            redis_data=f"redis://{HOST}:{ports['redis-data']}" if "redis-data" in wanted else None,
            cql=CqlAddress(hosts, ports["cassandra"]) if "cassandra" in wanted else None,
        )
        return [engine for engine in engines if engine.name in wanted], addresses

    def _nodes_of_cassandra(self, ports: CassandraPorts) -> list[Cassandra]:
        return [
            Cassandra(
                self._folder / f"cassandra-{number}",
                self._log(f"cassandra-{number}"),
                ports,
                number,
                self._nodes,
                heap=256,
            )
            for number in range(1, len(TOKENS[self._nodes]) + 1)
        ]

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _wait(self) -> None:
        end = time.monotonic() + START_LIMIT.total_seconds()
        waiting = list(self._engines)
        while waiting:
            waiting = [engine for engine in waiting if not engine.answers()]
            dead = next((child for child in self._children if child.exit_code is not None), None)
            if dead or (waiting and time.monotonic() > end):
                name = dead.launch.name if dead else waiting[0].name
                raise EngineUnavailable(f"{name} did not start", f"See the logs in {self._folder / 'logs'}")
            time.sleep(0.05)
