"""Settings of the knowledge-service."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import CqlSettings, RedisSettings, Secret, ServiceSettings


class KnowledgeSettings(ServiceSettings, CqlSettings, RedisSettings):
    """`KNOWLEDGE_…` variables, then the deployment-wide names."""

    model_config = SettingsConfigDict(env_prefix="KNOWLEDGE_")
    service: ClassVar[str] = "knowledge-service"

    port: int = Field(8003, description="Port the service listens on.")
    keyspace: str = Field("knowledge", description="CQL keyspace of this service.")
    cursor_key: Secret = Field(description="Key that signs list cursors, 32+ characters.")
    auth_service_url: str = Field("http://127.0.0.1:8001", description="Replicas of the auth-service.")
    state_dir: Path = Field(Path("knowledge-state"), description="Writable folder for the snapshots of publications.")
    max_wordings: Annotated[int, Field(ge=1)] = Field(
        200_000, description="Questions and alternatives kept in memory over all organizations, about 1.5 kB each."
    )
    accounts_deadline: timedelta = Field(
        timedelta(milliseconds=700), description="Time given to the auth-service before the starter base is assumed."
    )
