"""No service starts with a secret that can be guessed: every secret of every service is held to one rule."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import SecretStr, ValidationError

from shared.settings import DEPLOYMENT_WIDE, Password, Secret, ServiceSettings, read_settings

SERVICES = ("gateway", "auth_service", "chat_service", "knowledge_service", "notification_service", "task_worker")
LONG = "q7Vn-0fJxWm3_RtYb8KeZc5LsHd2PgUa1oTi6"
WEAK_KEYS = {
    "": "is not set",
    "letmein": "is shorter than 32 characters",
    "Zx4w" + "t9Lq" * 6: "is shorter than 32 characters",
    " " * 40: "is a pattern",
    "x" * 64: "is a pattern",
    "0123456789abcdef0123456789abcdef": "is a pattern",
    "abcdefghijklmnopqrstuvwxyz0123456789": "is a pattern",
    "Password1Password1Password1Password1": "is a pattern",
    "change-me-to-something-long-and-random": "is an example",
    "<python3 -c 'import secrets; print(...)'>": "is an example",
    "REPLACE_ME_WITH_32_OR_MORE_CHARACTERS": "is an example",
}
WEAK_PASSWORDS = {
    " ": "is empty",
    "change-me": "is an example",
    "password": "is an example",
    "<secret>": "is an example",
}


def settings_of(package: str) -> type[ServiceSettings]:
    """The settings class of a service."""
    module = importlib.import_module(f"{package}.settings")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value is not ServiceSettings
    )


def rule_of(package: str, field: str) -> object:
    """The check that a field carries; None where it has none."""
    rules = {get_args(Secret)[1]: Secret, get_args(Password)[1]: Password}
    info = settings_of(package).model_fields[field]
    within = [item for part in get_args(info.annotation) for item in getattr(part, "__metadata__", ())]
    return next((rules[item] for item in (*info.metadata, *within) if item in rules), None)


def secrets_of(package: str) -> Iterator[str]:
    """Every field of a service that holds a secret."""
    for name, field in settings_of(package).model_fields.items():
        if "SecretStr" in str(field.annotation):
            yield name


def variable(package: str, field: str) -> str:
    """The name under which an operator sets a field."""
    prefix = settings_of(package).model_config.get("env_prefix", "")
    return field.upper() if field in DEPLOYMENT_WIDE else f"{prefix}{field}".upper()


def environment_of(package: str) -> dict[str, str]:
    """Good secrets for all that a service needs."""
    return {variable(package, field): f"{LONG}{field}" for field in secrets_of(package)}


EVERY = [(package, field) for package in SERVICES for field in secrets_of(package)]
KEYS = [(package, field) for package, field in EVERY if rule_of(package, field) is Secret]
PASSWORDS = [(package, field) for package, field in EVERY if rule_of(package, field) is Password]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for package, field in EVERY:
        monkeypatch.delenv(variable(package, field), raising=False)
    return monkeypatch


def test_every_secret_of_every_service_carries_a_rule() -> None:
    assert [(package, field) for package, field in EVERY if rule_of(package, field) is None] == []
    assert {field for _, field in KEYS} == {
        "internal_identity_key",
        "cursor_key",
        "password_pepper",
        "signing_key_secret",
    }
    assert {package for package, field in KEYS if field == "internal_identity_key"} == set(SERVICES)


@pytest.mark.parametrize("weak", WEAK_KEYS)
@pytest.mark.parametrize(("package", "field"), KEYS)
def test_a_weak_key_is_refused_by_the_name_of_its_variable(
    package: str, field: str, weak: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = variable(package, field)
    for known, value in (environment_of(package) | {name: weak}).items():
        environment.setenv(known, value)

    with pytest.raises(SystemExit) as leaving:
        read_settings(settings_of(package))

    lines = capsys.readouterr().err.splitlines()
    assert leaving.value.code == 2
    assert [line for line in lines if f" {name} {WEAK_KEYS[weak]}" in line] == lines
    assert len(lines) == 1
    assert not weak.strip() or weak not in lines[0]


@pytest.mark.parametrize("weak", WEAK_PASSWORDS)
@pytest.mark.parametrize(("package", "field"), PASSWORDS)
def test_an_empty_or_copied_password_is_refused(
    package: str, field: str, weak: str, environment: pytest.MonkeyPatch
) -> None:
    for known, value in (environment_of(package) | {variable(package, field): weak}).items():
        environment.setenv(known, value)

    with pytest.raises(ValidationError, match=WEAK_PASSWORDS[weak]) as refusal:
        settings_of(package)()

    assert [error["loc"] for error in refusal.value.errors()] == [(field,)]


@pytest.mark.parametrize("package", SERVICES)
def test_a_value_handed_over_in_code_is_held_to_the_rule_too(package: str, environment: pytest.MonkeyPatch) -> None:
    for known, value in environment_of(package).items():
        environment.setenv(known, value)

    with pytest.raises(ValidationError, match="shorter than 32"):
        settings_of(package)(internal_identity_key=SecretStr(""))


def test_a_password_within_an_address_is_held_to_the_rule_too(environment: pytest.MonkeyPatch) -> None:
    for known, value in environment_of("chat_service").items():
        environment.setenv(known, value)
    environment.setenv("REDIS_DATA_URL", "redis://:change-me@redis:6379/0")

    with pytest.raises(ValidationError, match="is an example"):
        settings_of("chat_service")()


@pytest.mark.parametrize("package", SERVICES)
def test_a_process_without_its_secrets_ends_with_2_and_a_line_for_each(package: str) -> None:
    weak = {
        name: "hunter2"
        for name, field in ((variable(package, f), f) for f in secrets_of(package))
        if rule_of(package, field) is Secret
    }
    good = {name: value for name, value in environment_of(package).items() if name not in weak}

    done = subprocess.run(
        [sys.executable, "-m", package],
        env={"PATH": os.defpath} | good | weak,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert {line.split()[1] for line in lines} == set(weak)
    assert len(lines) == len(weak)
    assert "hunter2" not in done.stdout + done.stderr
