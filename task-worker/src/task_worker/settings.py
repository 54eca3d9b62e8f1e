"""Everything about task-worker that may differ between deployments."""

import socket
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import PostgresSettings, Secret, ServiceSettings


class TaskSettings(ServiceSettings, PostgresSettings):
    """Settings of the API process and of the workers: `TASK_...`, then the deployment-wide name."""

    model_config = SettingsConfigDict(env_prefix="TASK_")
    service: ClassVar[str] = "task-worker"

    port: int = Field(8005, description="Port the service listens on.")
    postgres_db: str = Field("tasks", description="Database of this service.")
    postgres_app_user: str = Field("tasks_app", description="Role the service logs in as; made by `migrate`.")
    cursor_key: Secret = Field(description="Key that signs list cursors, 32+ characters.")
    auth_service_url: str = Field("http://127.0.0.1:8001", description="Replicas of auth-service.")
    chat_service_url: str = Field("http://127.0.0.1:8002", description="Replicas of chat-service.")
    knowledge_service_url: str = Field("http://127.0.0.1:8003", description="Replicas of knowledge-service.")
    notification_service_url: str = Field("http://127.0.0.1:8004", description="Replicas of notification-service.")

    worker_name: str = Field(
        default_factory=socket.gethostname, description="Name of the worker's machine in recorded attempts."
    )
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="Tasks that one worker process runs at once."
    )
    heartbeat: timedelta = Field(timedelta(seconds=5), description="How often a worker says that it lives.")
    stalled_after: timedelta = Field(
        timedelta(seconds=20), description="Silence after which a worker's tasks are given to others."
    )
    sweep: timedelta = Field(
        timedelta(seconds=5), description="How often a worker looks for lost tasks and for mail that waits."
    )
    hand_back: timedelta = Field(
        timedelta(seconds=5), description="Time given to running tasks at SIGTERM before they go back to the queue."
    )
    retry_base: timedelta = Field(timedelta(seconds=1), description="First bound of the jittered wait before a retry.")
    retry_cap: timedelta = Field(timedelta(seconds=15), description="Last bound of the jittered wait before a retry.")
    max_failures: Annotated[int, Field(ge=1)] = Field(5, description="Failed attempts after which a task fails.")
    patience: timedelta = Field(
        timedelta(hours=1), description="How long a task waits for a neighbour that is away before it fails."
    )
    upload_limit: Annotated[int, Field(ge=1)] = Field(10 * 1024 * 1024, description="Bytes of an uploaded file.")
    analysis_memory: Annotated[int, Field(ge=64)] = Field(256, description="MiB that an analysis of a file may use.")
    analysis_limit: timedelta = Field(timedelta(seconds=60), description="Time that an analysis of a file may take.")
    kept: timedelta = Field(timedelta(days=30), description="How long events of the outbox are kept for a rebuild.")
