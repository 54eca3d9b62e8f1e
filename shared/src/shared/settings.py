"""Settings that every service shares, and how deployment-wide names fill the per-service ones."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

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


class _DeploymentSource(EnvSettingsSource):
    """The environment without the service's prefix, for DEPLOYMENT_WIDE fields only."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, env_prefix="")

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name not in DEPLOYMENT_WIDE:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class ServiceSettings(BaseSettings):
    """What every service reads at start: `PREFIX_NAME`, then the deployment-wide `NAME`. Secrets have no default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)
    service: ClassVar[str]

    host: str = Field("127.0.0.1", description="Address the service listens on.")
    port: int = Field(description="Port the service listens on.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    metrics_port: int | None = Field(None, description="Port for Prometheus metrics; none when unset.")
    internal_identity_key: SecretStr = Field(description="Key that signs identities between services, 32+ characters.")
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


class PostgresSettings(BaseSettings):
    """Where PostgreSQL is. The owner account (`postgres_user`) only migrates; the service logs in as the app user."""

    postgres_host: str = Field("127.0.0.1", description="PostgreSQL host.")
    postgres_port: int = Field(5432, description="PostgreSQL port.")
    postgres_db: str = Field(description="Database of this service.")
    postgres_user: str = Field("postgres", description="Owner account, used by `migrate` only.")
    postgres_password: SecretStr = Field(SecretStr(""), description="Password of the owner account.")
    postgres_app_user: str = Field(description="Role the service logs in as; made by `migrate`, owns nothing.")
    postgres_app_password: SecretStr = Field(description="Password of that role.")


class RedisSettings(BaseSettings):
    """Where Redis (or Valkey) is: a cache that may lose everything, and data that may not."""

    redis_host: str = Field("127.0.0.1", description="Redis host, where no URL is given.")
    redis_port: int = Field(6379, description="Redis port, where no URL is given.")
    redis_db: int = Field(0, description="Redis database number, where no URL is given.")
    redis_password: SecretStr | None = Field(None, description="Redis password, where no URL is given.")
    redis_cache_url: str | None = Field(None, description="URL of the cache (LFU eviction, no persistence).")
    redis_data_url: str | None = Field(None, description="URL of the data store (noeviction, AOF everysec).")

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


class CqlSettings(BaseSettings):
    """Where ScyllaDB or Apache Cassandra is."""

    scylla_host: str = Field("127.0.0.1", description="CQL contact points, separated by commas.")
    scylla_port: int = Field(9042, description="CQL port.")
    scylla_datacenter: str = Field("datacenter1", description="Local data centre.")
    scylla_replication_factor: int = Field(1, description="Replicas per data centre for new keyspaces.")
    scylla_user: str | None = Field(None, description="CQL user, where the cluster asks for one.")
    scylla_password: SecretStr | None = Field(None, description="CQL password.")
    keyspace: str = Field(description="Keyspace of this service.")

    @property
    def contact_points(self) -> list[str]:
        """The contact points as a list."""
        return [host.strip() for host in self.scylla_host.split(",") if host.strip()]
