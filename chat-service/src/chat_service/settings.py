"""Settings of chat-service (`CHAT_…`)."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shared.settings import CqlSettings, RedisSettings, Secret, ServiceSettings


class ChatSettings(ServiceSettings, RedisSettings, CqlSettings, env_prefix="CHAT_"):
    """What chat-service reads at start."""

    service: ClassVar[str] = "chat-service"

    port: int = Field(8002, description="Port the service listens on.")
    keyspace: str = Field("chat", description="CQL keyspace of conversations.")
    cursor_key: Secret = Field(description="Key that signs cursors, 32+ characters; the same on every replica.")
    auth_service_url: str = Field("http://127.0.0.1:8001", description="Replicas of auth-service.")
    knowledge_service_url: str = Field("http://127.0.0.1:8003", description="Replicas of knowledge-service.")
    state_dir: Path = Field(Path(".multidb/state/chat-service"), description="Folder for journals; must be kept.")
    answer_ttl: timedelta = Field(timedelta(hours=1), description="How long an answer of an epoch is cached.")
    answers_in_process: Annotated[int, Field(ge=1)] = Field(5_000, description="Answers cached in each process.")
