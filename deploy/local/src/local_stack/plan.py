"""From the desired state to process specs: which engines are ours, which port and environment each process gets."""

import hashlib
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from local_stack.desired import DesiredState, InvalidDesiredState
from local_stack.engines.cassandra import Cassandra, CassandraPorts
from local_stack.engines.postgresql import HOST, OWNER, PostgreSQL
from local_stack.engines.valkey import Role, Valkey
from local_stack.home import Home
from local_stack.keyring import Keyring
from local_stack.ports import assign_ports, obstacle, reachable
from local_stack.process import BEHIND_THE_DOOR, Launch
from local_stack.services import SERVICES, Service
from local_stack.specs import ProcessSpec, engine_spec, one_shot_spec, service_spec, worker_spec
from local_stack.state import State

ENGINE_NAMES = ("postgresql", "redis-cache", "redis-data", "cassandra")
MEGABYTES = {"postgresql": 60, "redis-cache": 10, "redis-data": 10, "cassandra": 370, "service": 75, "supervisor": 30}
OWNER_ONLY = ("POSTGRES_USER", "POSTGRES_PASSWORD")
DRAIN = timedelta(seconds=11)  # a little more than the services give their running requests


class PortTaken(RuntimeError):
    """The gateway cannot listen on its port."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All process specs of a stack, and the engines that belong to the user."""

    specs: tuple[ProcessSpec, ...]
    external: Mapping[str, str]
    gateway: str

    def megabytes(self) -> int:
        """Memory it will take, estimated."""
        running = [spec for spec in self.specs if spec.kind != "one-shot"]
        return MEGABYTES["supervisor"] + sum(MEGABYTES.get(spec.name, MEGABYTES["service"]) for spec in running)


def external_engines(settings: Mapping[str, str]) -> dict[str, str]:
    """The engines that the user named, with their addresses (no passwords)."""
    found: dict[str, str] = {}
    if host := settings.get("POSTGRES_HOST"):
        found["postgresql"] = f"postgresql://{host}:{settings.get('POSTGRES_PORT', '5432')}"
    redis = settings.get("REDIS_HOST")
    built = f"redis://{redis}:{settings.get('REDIS_PORT', '6379')}/{settings.get('REDIS_DB', '0')}" if redis else None
    for name, setting in (("redis-cache", "REDIS_CACHE_URL"), ("redis-data", "REDIS_DATA_URL")):
        if url := settings.get(setting) or built:
            found[name] = _without_password(url)
    if host := settings.get("SCYLLA_HOST"):
        found["cassandra"] = f"cql://{host}:{settings.get('SCYLLA_PORT', '9042')}"
    return found


def check_desired(desired: DesiredState, state: State) -> None:
    """Refuse what cannot be had. Raises InvalidDesiredState."""
    unknown = set(desired.replicas) - {service.name for service in SERVICES}
    if unknown:
        names = ", ".join(service.name for service in SERVICES)
        raise InvalidDesiredState(f"--replicas does not know {', '.join(sorted(unknown))}; the services are {names}")
    if desired.nodes and state.nodes and desired.nodes != state.nodes:
        raise InvalidDesiredState(
            f"This stack was made with {state.nodes} Cassandra node(s); {desired.nodes} would not see its data: "
            f"leave out --nodes, or use another MULTIDB_HOME"
        )


def check_gateway_port(port: int, host: str = "127.0.0.1") -> None:
    """Raises PortTaken with the reason, and the holder's name where the system tells it."""
    if why := obstacle(port, host):
        raise PortTaken(f"{why[0].upper()}{why[1:]}: choose another with GATEWAY_PORT={port + 1}, or stop what has it")


class Planner:
    """Builds the plan; remembers ports in the state it is given."""

    def __init__(
        self, home: Home, desired: DesiredState, state: State, keyring: Keyring, base: Mapping[str, str]
    ) -> None:
        self._home = home
        self._desired = desired
        self._state = state
        self._keyring = keyring
        self._base = base
        self._external = external_engines(desired.settings)
        self._nodes = desired.nodes or state.nodes or 1
        self._ports: dict[str, int] = {}
        self._gateway = f"http://{reachable(desired.gateway_host)}:{desired.gateway_port}"

    def plan(self, in_use: Mapping[str, int]) -> Plan:
        """The process specs; `in_use` are ports that our own running processes hold and keep."""
        self._assign_ports(in_use)
        engines = self._engines()
        shared = self._shared_environment()
        specs = [*engines]
        for service in SERVICES:
            specs += self._service(service, shared)
        self._state.nodes = self._nodes
        self._state.gateway_port = self._desired.gateway_port
        return Plan(tuple(specs), self._external, self._gateway)

    def _assign_ports(self, in_use: Mapping[str, int]) -> None:
        names = [*ENGINE_NAMES, "storage", "ssl-storage", *(f"jmx-{number}" for number in range(1, self._nodes + 1))]
        names += [key for service in SERVICES for key in self._keys(service) if service.name != "gateway"]
        hosts = [f"127.0.0.{number}" for number in range(1, self._nodes + 1)]
        new = assign_ports([name for name in names if name not in in_use], self._state.ports, hosts)
        self._ports = {**{name: in_use[name] for name in names if name in in_use}, **new}
        self._state.ports = {**self._state.ports, **self._ports}

    def _engines(self) -> list[ProcessSpec]:
        ports = self._ports
        own: list[ProcessSpec] = []
        if "cassandra" not in self._external:
            cassandra = CassandraPorts(
                ports["cassandra"],
                ports["storage"],
                ports["ssl-storage"],
                tuple(ports[f"jmx-{number}"] for number in range(1, self._nodes + 1)),
            )
            for number in range(1, self._nodes + 1):
                key = "cassandra" if number == 1 else f"cassandra-{number}"
                own.append(
                    engine_spec(Cassandra(self._home.data(key), self._home.log(key), cassandra, number, self._nodes))
                )
        if "postgresql" not in self._external:
            postgresql = PostgreSQL(
                self._home.data("postgresql"),
                self._home.log("postgresql"),
                ports["postgresql"],
                self._keyring.postgres_password,
            )
            own.append(engine_spec(postgresql))
        roles: tuple[Role, ...] = ("cache", "data")
        valkeys = [
            Valkey(role, self._home.data(f"redis-{role}"), self._home.log(f"redis-{role}"), ports[f"redis-{role}"])
            for role in roles
        ]
        own += [engine_spec(valkey) for valkey in valkeys if valkey.name not in self._external]
        return own

    def _service(self, service: Service, shared: Mapping[str, str]) -> list[ProcessSpec]:
        one_shots = self._one_shots(service, shared)
        # CQL may be away for long, so its services do not wait for it: they start without and heal
        first = frozenset(spec.key for spec in one_shots if service.migrates == "postgresql")
        specs = [*one_shots]
        for replica, key in enumerate(self._keys(service), start=1):
            environment = self._service_environment(service, key, shared)
            specs.append(service_spec(self._api(service, replica, key, environment), self._url(service, key), first))
            if service.has_workers:
                specs.append(worker_spec(self._worker(service, replica, environment), first))
        return specs

    def _one_shots(self, service: Service, shared: Mapping[str, str]) -> list[ProcessSpec]:
        if service.migrates is None:
            return []
        after = frozenset({service.migrates} if service.migrates not in self._external else ())
        if service.migrates == "cassandra" and after:
            after = frozenset(
                "cassandra" if number == 1 else f"cassandra-{number}" for number in range(1, self._nodes + 1)
            )
        stamp = self._stamp(service)
        environment = {**self._service_environment(service, service.name, shared), **self._owner()}
        migrate = self._command(service, "migrate", f"migrate-{service.name}", environment)
        found = [one_shot_spec(migrate, after, stamp)]
        if service.seeds:
            seed = self._command(service, "seed", f"seed-{service.name}", environment)
            found.append(one_shot_spec(seed, after | {found[0].key}, stamp))
        return found

    def _api(self, service: Service, replica: int, key: str, environment: Mapping[str, str]) -> Launch:
        listens = None
        if service.name == "gateway":
            listens = (self._desired.gateway_host, self._desired.gateway_port)
        return Launch(
            name=service.name,
            replica=replica,
            argv=(sys.executable, "-m", service.package),
            environment=environment,
            log=self._home.log(key),
            folder=self._home.folder,
            grace=DRAIN,
            listens=listens,
            listen_setting="GATEWAY_LISTEN_FD",
            niceness=0 if service.name == "gateway" else BEHIND_THE_DOOR,
        )

    def _worker(self, service: Service, replica: int, environment: Mapping[str, str]) -> Launch:
        name = f"{service.name}-worker"
        key = name if replica == 1 else f"{name}-{replica}"
        return Launch(
            name=name,
            replica=replica,
            argv=(sys.executable, "-m", service.package, "work"),
            environment={**environment, f"{service.prefix}_WORKER_NAME": key},
            log=self._home.log(key),
            folder=self._home.folder,
            grace=DRAIN,
        )

    def _command(self, service: Service, word: str, name: str, environment: Mapping[str, str]) -> Launch:
        return Launch(
            name=name,
            argv=(sys.executable, "-m", service.package, word),
            environment=environment,
            log=self._home.log(name),
            folder=self._home.folder,
            grace=timedelta(seconds=3),
        )

    def _keys(self, service: Service) -> list[str]:
        count = self._desired.replicas.get(service.name, 1)
        return [service.name if number == 1 else f"{service.name}-{number}" for number in range(1, count + 1)]

    def _url(self, service: Service, key: str) -> str:
        return self._gateway if service.name == "gateway" else f"http://{HOST}:{self._ports[key]}"

    def _shared_environment(self) -> dict[str, str]:
        """What all processes get: the user's settings, engines and the keys they share."""
        ports = self._ports
        engines = {
            "postgresql": {"POSTGRES_HOST": HOST, "POSTGRES_PORT": str(ports["postgresql"])},
            "redis-cache": {"REDIS_CACHE_URL": f"redis://{HOST}:{ports['redis-cache']}/0"},
            "redis-data": {"REDIS_DATA_URL": f"redis://{HOST}:{ports['redis-data']}/0"},
            "cassandra": {
                "SCYLLA_HOST": ",".join(f"127.0.0.{number}" for number in range(1, self._nodes + 1)),
                "SCYLLA_PORT": str(ports["cassandra"]),
                "SCYLLA_REPLICATION_FACTOR": str(self._nodes),
            },
        }
        own = {
            name: value for key, pair in engines.items() if key not in self._external for name, value in pair.items()
        }
        defaults = {
            "LOG_LEVEL": "INFO",
            "AUTH_SELF_SERVICE_PLANS": "free,pro,enterprise",
            "INTERNAL_IDENTITY_KEY": self._keyring.internal_identity_key,
            "CURSOR_KEY": self._keyring.cursor_key,
        }
        users = {name: value for name, value in self._desired.settings.items() if name not in OWNER_ONLY}
        return {**self._base, **defaults, **users, **own}

    def _service_environment(self, service: Service, key: str, shared: Mapping[str, str]) -> dict[str, str]:
        """What one replica gets on top: its address, its folder, and the secrets nobody else needs."""
        state = self._home.service_state(key)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        port = self._desired.gateway_port if service.name == "gateway" else self._ports[key]
        own = {
            **self._neighbours(service),
            f"{service.prefix}_PORT": str(port),
            f"{service.prefix}_STATE_DIR": str(state),
        }
        if service.name == "knowledge-service":
            own["KNOWLEDGE_SNAPSHOT_DIR"] = str(state / "snapshots")
        settings = self._desired.settings
        return {f"{service.prefix}_HOST": HOST, **shared, **own, **_missing(self._secrets(service), settings)}

    def _neighbours(self, service: Service) -> dict[str, str]:
        """The addresses of the services it calls: with more or fewer of them it has to change, the others go on."""
        return {
            other.url_setting: ",".join(self._url(other, key) for key in self._keys(other))
            for other in SERVICES
            if other.name in service.calls
        }

    def _secrets(self, service: Service) -> dict[str, str]:
        keyring = self._keyring
        return {
            "auth-service": {
                "AUTH_PASSWORD_PEPPER": keyring.auth_password_pepper,
                "AUTH_SIGNING_KEY_SECRET": keyring.auth_signing_key_secret,
                "AUTH_POSTGRES_APP_PASSWORD": keyring.auth_postgres_app_password,
            },
            "task-worker": {"TASK_POSTGRES_APP_PASSWORD": keyring.task_postgres_app_password},
        }.get(service.name, {})

    def _owner(self) -> dict[str, str]:
        """PostgreSQL's owner account, for migrations only."""
        if "postgresql" in self._external:
            return {name: self._desired.settings[name] for name in OWNER_ONLY if name in self._desired.settings}
        return {"POSTGRES_USER": OWNER, "POSTGRES_PASSWORD": self._keyring.postgres_password}

    def _stamp(self, service: Service) -> str:
        """What a one-shot depends on: the files of its package and the very cluster it speaks to."""
        engine = str(service.migrates)
        target = self._external.get(engine) or str(self._home.data(engine)) + _identity(self._home.data(engine))
        return f"{target}:{_digest(_package_files(service.package))}"


def _identity(folder: Path) -> str:
    """A token that lives and dies with the data folder."""
    token = folder / ".identity"
    if not token.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        token.write_text(secrets.token_hex(8))
    return token.read_text()


def _package_files(package: str) -> list[Path]:
    """Its migrations and whatever it seeds: everything that is not Python."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in {".py", ".pyc"}]


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _missing(defaults: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in defaults.items() if name not in settings}


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
