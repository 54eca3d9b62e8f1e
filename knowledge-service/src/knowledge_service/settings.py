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
    index_memory_mib: Annotated[int, Field(ge=64, description="MiB for the indexes of all knowledge bases.")] = 1024
    import_rows: Annotated[int, Field(ge=1, description="Articles that one import takes.")] = 100_000
    import_headings: Annotated[int, Field(ge=1, description="Headings that one Markdown file may have.")] = 100_000
    import_memory_mib: Annotated[int, Field(ge=128, description="MiB of address space for reading one file.")] = 1024
    import_work: timedelta = Field(timedelta(seconds=60), description="CPU time for reading one file.")
    import_deadline: timedelta = Field(timedelta(minutes=30), description="Time for one import from begin to end.")
    accounts_deadline: timedelta = Field(
        timedelta(milliseconds=700), description="Time given to the auth-service before the starter base is assumed."
    )
