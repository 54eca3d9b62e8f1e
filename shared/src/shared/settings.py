"""Settings that every service shares, how deployment-wide names fill the services' own, and what a secret must be."""

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

SECRET_LENGTH = 32
"""Characters that a key must have: 32 of base64 are 192 bits."""
FEWEST_DISTINCT = 8
"""Different characters in a key: of 32 random hexadecimal digits fewer come once in 25 million keys."""
MOST_CONSECUTIVE = 0.5
"""Share of neighbours in a key that follow one another ("abc…", "123…"); random text has one in thirty."""
PLACEHOLDERS = ("changeme", "replaceme", "placeholder", "example", "yoursecret", "yourpassword", "yourkey", "insecure")
"""Marks of a value that was copied from a template and never filled in, without separators."""
PLACEHOLDER_PASSWORDS = frozenset({"password", "secret", "todo", "none", "null", "test", "x", "xx", "xxx", "xxxx"})

DEPLOYMENT_WIDE = frozenset(
    {
        "log_level",
        "internal_identity_key",
        "cursor_key",
        "postgres_host",
        "postgres_port",
        "postgres_user",
        "postgres_password",
        "redis_host",
        "redis_port",
        "redis_db",
        "redis_password",
        "redis_cache_url",
        "redis_data_url",
        "scylla_host",
        "scylla_port",
        "scylla_datacenter",
        "scylla_replication_factor",
        "scylla_user",
        "scylla_password",
        "auth_service_url",
        "chat_service_url",
        "knowledge_service_url",
        "notification_service_url",
        "task_worker_url",
    }
)
"""Fields that may be set once for all services, without a service's prefix."""


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _is_placeholder(text: str) -> bool:
    return (text.startswith("<") and text.endswith(">")) or any(mark in _letters(text) for mark in PLACEHOLDERS)


def _is_repeated(text: str) -> bool:
    """Whether it is a shorter text again and again: then it begins again somewhere within itself doubled."""
    return text in (text + text)[1:-1]


def _is_sequence(text: str) -> bool:
    followed = sum(1 for one, next_one in pairwise(text) if abs(ord(next_one) - ord(one)) == 1)
    return followed > MOST_CONSECUTIVE * (len(text) - 1)


def _refuse_weak_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if len(text) < SECRET_LENGTH:
        raise PydanticCustomError("weak_secret", "is shorter than 32 characters")
    if _is_placeholder(text):
        raise PydanticCustomError("weak_secret", "is an example, not a secret")
    if len(set(text)) < FEWEST_DISTINCT or _is_repeated(text) or _is_sequence(text):
        raise PydanticCustomError("weak_secret", "is a pattern that can be guessed")
    return secret


def _refuse_placeholder(password: SecretStr) -> SecretStr:
    text = password.get_secret_value()
    if not text.strip():
        raise PydanticCustomError("weak_password", "is empty")
    if _is_placeholder(text) or _letters(text) in PLACEHOLDER_PASSWORDS:
        raise PydanticCustomError("weak_password", "is an example, not a password")
    return password


def _refuse_placeholder_within(url: str) -> str:
    password = urlsplit(url).password
    if password is not None:
        _refuse_placeholder(SecretStr(unquote(password)))
    return url


Secret = Annotated[SecretStr, AfterValidator(_refuse_weak_secret)]
"""A key that signs or encrypts: 32 or more characters, no example and no pattern."""
Password = Annotated[SecretStr, AfterValidator(_refuse_placeholder)]
"""A password of a database: its server decides how strong it is; here it is there, and no example."""
RedisUrl = Annotated[str, AfterValidator(_refuse_placeholder_within)]
"""An address with, perhaps, a password in it."""


class Environment(BaseSettings):
    """What every class of settings is made of. An empty variable counts as one that is not set."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)


class _DeploymentSource(EnvSettingsSource):
    """The environment without the service's prefix, for DEPLOYMENT_WIDE fields only."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, env_prefix="")

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name not in DEPLOYMENT_WIDE:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class ServiceSettings(Environment):
    """What every service reads at start: `PREFIX_NAME`, then the deployment-wide `NAME`. Secrets have no default."""

    service: ClassVar[str]

    host: str = Field("127.0.0.1", description="Address the service listens on.")
    port: int = Field(description="Port the service listens on.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    metrics_port: int | None = Field(None, description="Port for Prometheus metrics; none when unset.")
    internal_identity_key: Secret = Field(description="Key that signs identities between services, 32+ characters.")
    max_in_flight: Annotated[int, Field(ge=1)] = Field(256, description="Requests worked on at once; more get 503.")
    drain: timedelta = Field(timedelta(seconds=10), description="Time given to running requests at shutdown.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Own name first, deployment-wide name second; files are left to whoever starts the process."""
        return init_settings, env_settings, _DeploymentSource(settings_cls)

    @property
    def identity_key(self) -> bytes:
        """The identity key as bytes."""
        return self.internal_identity_key.get_secret_value().encode()


class PostgresSettings(Environment):
    """Where PostgreSQL is. The owner account (`postgres_user`) only migrates; the service logs in as the app user."""

    postgres_host: str = Field("127.0.0.1", description="PostgreSQL host.")
    postgres_port: int = Field(5432, description="PostgreSQL port.")
    postgres_db: str = Field(description="Database of this service.")
    postgres_user: str = Field("postgres", description="Owner account, used by `migrate` only.")
    postgres_password: Password | None = Field(None, description="Password of the owner account.")
    postgres_app_user: str = Field(description="Role the service logs in as; made by `migrate`, owns nothing.")
    postgres_app_password: Password = Field(description="Password of that role.")


class RedisSettings(Environment):
    """Where Redis (or Valkey) is: a cache that may lose everything, and data that may not."""

    redis_host: str = Field("127.0.0.1", description="Redis host, where no URL is given.")
    redis_port: int = Field(6379, description="Redis port, where no URL is given.")
    redis_db: int = Field(0, description="Redis database number, where no URL is given.")
    redis_password: Password | None = Field(None, description="Redis password, where no URL is given.")
    redis_cache_url: RedisUrl | None = Field(None, description="URL of the cache (LFU eviction, no persistence).")
    redis_data_url: RedisUrl | None = Field(None, description="URL of the data store (noeviction, AOF everysec).")

    @property
    def cache_url(self) -> str:
        """URL of the cache."""
        return self.redis_cache_url or self._built_url()

    @property
    def data_url(self) -> str:
        """URL of the data store."""
        return self.redis_data_url or self._built_url()

    def _built_url(self) -> str:
        password = f":{self.redis_password.get_secret_value()}@" if self.redis_password else ""
        return f"redis://{password}{self.redis_host}:{self.redis_port}/{self.redis_db}"


class CqlSettings(Environment):
    """Where ScyllaDB or Apache Cassandra is."""

    scylla_host: str = Field("127.0.0.1", description="CQL contact points, separated by commas.")
    scylla_port: int = Field(9042, description="CQL port.")
    scylla_datacenter: str = Field("datacenter1", description="Local data centre.")
    scylla_replication_factor: int = Field(1, description="Replicas per data centre for new keyspaces.")
    scylla_user: str | None = Field(None, description="CQL user, where the cluster asks for one.")
    scylla_password: Password | None = Field(None, description="CQL password.")
    keyspace: str = Field(description="Keyspace of this service.")

    @property
    def contact_points(self) -> list[str]:
        """The contact points as a list."""
        return [host.strip() for host in self.scylla_host.split(",") if host.strip()]


Settings = TypeVar("Settings", bound=ServiceSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """The settings of this process; where the environment does not make them, a line for each fault and exit 2."""
    try:
        return kind()
    except ValidationError as error:
        _leave(kind, error)


def _leave(kind: type[ServiceSettings], error: ValidationError) -> NoReturn:
    for line in _faults(kind, error.errors(include_input=False, include_context=False, include_url=False)):
        sys.stderr.write(f"{kind.service}: {line}\n")
    raise SystemExit(2) from None


def _faults(kind: type[ServiceSettings], errors: list[ErrorDetails]) -> Iterator[str]:
    for error in errors:
        what = "is not set" if error["type"] == "missing" else error["msg"]
        yield f"{_variable(kind, str(error['loc'][0]))} {what}{_ADVICE if error['type'] == 'weak_secret' else ''}"


_ADVICE = '; make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


def _variable(kind: type[ServiceSettings], field: str) -> str:
    """The variable that an operator has to look at: the one that was read, else the one that would be."""
    own, wide = f"{kind.model_config.get('env_prefix', '')}{field}".upper(), field.upper()
    is_wide = field in DEPLOYMENT_WIDE and not os.environ.get(own)
    return wide if is_wide else own
