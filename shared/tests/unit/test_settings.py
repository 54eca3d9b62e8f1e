from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from shared.settings import CqlSettings, PostgresSettings, RedisSettings, ServiceSettings, read_settings
from shared.testing import KEY


class Settings(ServiceSettings, PostgresSettings, RedisSettings, CqlSettings, env_prefix="THING_"):
    service: ClassVar[str] = "thing-service"

    port: int = 8123
    postgres_db: str = "thing"
    postgres_app_user: str = "thing_app"
    keyspace: str = "thing"
    colour: str = Field("red")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("POSTGRES_HOST", "REDIS_HOST", "REDIS_CACHE_URL", "REDIS_DATA_URL", "SCYLLA_HOST", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTERNAL_IDENTITY_KEY", KEY.decode())
    monkeypatch.setenv("THING_POSTGRES_APP_PASSWORD", "anything")
    return monkeypatch


def test_a_deployment_wide_name_fills_the_services_own(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("POSTGRES_HOST", "db.example")

    assert Settings().postgres_host == "db.example"


def test_the_services_own_name_wins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("POSTGRES_HOST", "db.example")
    environment.setenv("THING_POSTGRES_HOST", "own.example")

    assert Settings().postgres_host == "own.example"


def test_names_that_are_not_deployment_wide_need_the_prefix(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("COLOUR", "blue")
    environment.setenv("PORT", "1")

    assert (Settings().colour, Settings().port) == ("red", 8123)


def test_one_redis_address_serves_both_purposes(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_HOST", "redis.example")
    environment.setenv("REDIS_DATA_URL", "redis://data.example:6380/1")

    assert Settings().cache_url == "redis://redis.example:6379/0"
    assert Settings().data_url == "redis://data.example:6380/1"


def test_contact_points_are_a_list(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SCYLLA_HOST", "a, b,c")

    assert Settings().contact_points == ["a", "b", "c"]


def test_a_secret_has_no_default(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("INTERNAL_IDENTITY_KEY")

    with pytest.raises(ValidationError, match="internal_identity_key"):
        Settings()


def test_an_empty_variable_counts_as_one_that_is_not_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("THING_COLOUR", "")
    environment.setenv("INTERNAL_IDENTITY_KEY", "")

    with pytest.raises(ValidationError, match="Field required"):
        Settings()

    environment.setenv("INTERNAL_IDENTITY_KEY", KEY.decode())
    assert Settings().colour == "red"


@pytest.mark.usefixtures("environment")
def test_settings_cannot_be_changed_whatever_they_are_mixed_of() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_every_fault_is_a_line_that_names_its_variable(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("INTERNAL_IDENTITY_KEY")
    environment.setenv("THING_PORT", "eighty")
    environment.setenv("SCYLLA_PORT", "ninety")

    with pytest.raises(SystemExit) as leaving:
        read_settings(Settings)

    lines = capsys.readouterr().err.splitlines()
    assert leaving.value.code == 2
    assert {line.split()[1] for line in lines} == {"INTERNAL_IDENTITY_KEY", "THING_PORT", "SCYLLA_PORT"}
    assert all(line.startswith("thing-service: ") for line in lines)
    assert not any(word in line for line in lines for word in ("eighty", "ninety"))
