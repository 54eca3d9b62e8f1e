"""The plan: whose engines, which processes, and what stands in their environment."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from local_stack.desired import DesiredState, InvalidDesiredState
from local_stack.home import Home
from local_stack.keyring import Keyring, open_keyring
from local_stack.plan import Plan, Planner, check_desired
from local_stack.process import Launch
from local_stack.services import SERVICES
from local_stack.state import State


def plan(home: Path, state: State | None = None, **desired: object) -> Plan:
    made = DesiredState(gateway_port=18_000, **desired)  # type: ignore[arg-type] # the keywords of DesiredState
    return Planner(Home(home), made, state or State(), Keyring(), {"PATH": "/bin"}).plan({})


def launch(found: Plan, key: str) -> Launch:
    return next(spec for spec in found.specs if spec.key == key).launch()


def environment(found: Plan, key: str) -> Mapping[str, str]:
    return launch(found, key).environment


def test_a_stack_is_four_engines_six_services_a_worker_and_what_prepares_them(tmp_path: Path) -> None:
    found = plan(tmp_path)

    kinds = [spec.kind for spec in found.specs]
    assert kinds.count("engine") == 4
    assert kinds.count("service") == 6
    assert kinds.count("worker") == 1
    assert {spec.key for spec in found.specs if spec.kind == "one-shot"} == {
        "migrate-auth-service",
        "migrate-chat-service",
        "migrate-knowledge-service",
        "migrate-task-worker",
        "seed-knowledge-service",
    }


def test_the_gateway_alone_never_queues_for_the_cpu_behind_the_others(tmp_path: Path) -> None:
    services = [spec for spec in plan(tmp_path).specs if spec.kind in ("service", "worker")]
    niceness = {spec.key: spec.launch().niceness for spec in services}

    assert {name for name, value in niceness.items() if value == 0} == {"gateway"}


def test_every_replica_has_its_own_port_and_folder_and_its_neighbours_know_all(tmp_path: Path) -> None:
    found = plan(tmp_path, replicas={"chat-service": 2})

    one, two = environment(found, "chat-service"), environment(found, "chat-service-2")
    assert one["CHAT_PORT"] != two["CHAT_PORT"]
    assert one["CHAT_STATE_DIR"] != two["CHAT_STATE_DIR"]
    assert environment(found, "gateway")["CHAT_SERVICE_URL"] == (
        f"http://127.0.0.1:{one['CHAT_PORT']},http://127.0.0.1:{two['CHAT_PORT']}"
    )
    assert launch(found, "chat-service-2").log.name == "chat-service-2.log"


def test_two_replicas_of_task_worker_have_two_workers(tmp_path: Path) -> None:
    found = plan(tmp_path, replicas={"task-worker": 2})

    names = [spec.key for spec in found.specs if spec.kind == "worker"]
    assert names == ["task-worker-worker", "task-worker-worker-2"]
    assert environment(found, names[1])["TASK_WORKER_NAME"] == "task-worker-worker-2"


def test_only_migrations_get_the_owner_of_postgresql(tmp_path: Path) -> None:
    found = plan(tmp_path)

    assert environment(found, "migrate-auth-service")["POSTGRES_USER"]
    for service in ("auth-service", "task-worker", "gateway"):
        assert "POSTGRES_PASSWORD" not in environment(found, service)


def test_a_secret_goes_to_the_service_that_needs_it_alone(tmp_path: Path) -> None:
    found = plan(tmp_path)

    holders = {
        spec.key
        for spec in found.specs
        if spec.kind == "service" and "AUTH_PASSWORD_PEPPER" in environment(found, spec.key)
    }
    assert holders == {"auth-service"}


def test_an_engine_the_user_names_is_used_instead_of_ours(tmp_path: Path) -> None:
    settings = {
        "POSTGRES_HOST": "db",
        "POSTGRES_USER": "me",
        "POSTGRES_PASSWORD": "mine",
        "REDIS_HOST": "cache",
        "SCYLLA_HOST": "s1,s2",
    }

    found = plan(tmp_path, settings=settings)

    assert [spec for spec in found.specs if spec.kind == "engine"] == []
    assert found.external == {
        "postgresql": "postgresql://db:5432",
        "redis-cache": "redis://cache:6379/0",
        "redis-data": "redis://cache:6379/0",
        "cassandra": "cql://s1,s2:9042",
    }
    migrate = environment(found, "migrate-auth-service")
    assert (migrate["POSTGRES_HOST"], migrate["POSTGRES_USER"], migrate["POSTGRES_PASSWORD"]) == ("db", "me", "mine")
    assert environment(found, "chat-service")["SCYLLA_HOST"] == "s1,s2"


def test_the_password_in_a_url_is_not_shown(tmp_path: Path) -> None:
    found = plan(tmp_path, settings={"REDIS_DATA_URL": "redis://:secret@host:6379/1"})

    assert found.external["redis-data"] == "redis://host:6379/1"


def test_three_nodes_are_three_engines_and_three_copies(tmp_path: Path) -> None:
    found = plan(tmp_path, nodes=3)

    urls = [spec.url for spec in found.specs if spec.name == "cassandra"]
    assert [url.split("//")[1].split(":")[0] for url in urls if url] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert environment(found, "chat-service")["SCYLLA_REPLICATION_FACTOR"] == "3"


def test_the_number_of_nodes_is_for_ever() -> None:
    with pytest.raises(InvalidDesiredState, match="made with 1"):
        check_desired(DesiredState(nodes=3), State(nodes=1))


def test_replicas_of_an_unknown_service_are_refused() -> None:
    with pytest.raises(InvalidDesiredState, match="chat-service"):
        check_desired(DesiredState(replicas={"chat": 2}), State())


def test_the_same_desired_state_makes_the_same_processes_again(tmp_path: Path) -> None:
    state, keyring = State(), Keyring()
    planner = Planner(Home(tmp_path), DesiredState(), state, keyring, {})

    first = {spec.key: spec.fingerprint for spec in planner.plan({}).specs}
    second = {spec.key: spec.fingerprint for spec in planner.plan(state.ports).specs}

    assert first == second


def test_a_migration_runs_again_when_the_data_folder_is_another(tmp_path: Path) -> None:
    def stamp() -> str:
        return next(spec.stamp for spec in plan(tmp_path).specs if spec.key == "migrate-auth-service")

    before = stamp()
    assert stamp() == before

    (tmp_path / "engines" / "postgresql" / ".identity").unlink()
    assert stamp() != before


def test_secrets_are_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    first, second = open_keyring(home), open_keyring(home)

    assert first == second
    assert home.secrets.stat().st_mode & 0o777 == 0o600
    assert len(first.internal_identity_key) >= 32


def test_more_replicas_change_only_what_calls_them(tmp_path: Path) -> None:
    state, keyring = State(), Keyring()

    def fingerprints(count: int) -> dict[str, object]:
        desired = DesiredState(replicas={"chat-service": count})
        specs = Planner(Home(tmp_path), desired, state, keyring, {}).plan(dict(state.ports)).specs
        return {spec.key: spec.fingerprint for spec in specs if spec.kind != "one-shot"}

    one, two = fingerprints(1), fingerprints(2)

    assert {key for key in one if one[key] != two[key]} == {"gateway", "task-worker", "task-worker-worker"}
    assert set(two) - set(one) == {"chat-service-2"}


def test_a_service_gets_the_addresses_of_those_it_calls_as_it_does_in_compose(tmp_path: Path) -> None:
    found = plan(tmp_path)
    settings = {service.url_setting for service in SERVICES}

    given = {
        service.name: sorted(settings & set(environment(found, service.name)) - {"GATEWAY_URL"}) for service in SERVICES
    }

    compose = yaml.safe_load((Path(__file__).parents[4] / "docker-compose.yml").read_text())["services"]
    assert given == {service.name: sorted(settings & set(compose[service.name]["environment"])) for service in SERVICES}
