"""What notification-service reads at start."""

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import RedisSettings, Secret, ServiceSettings


class NotificationSettings(ServiceSettings, RedisSettings):
    """`NOTIFICATION_…`, then the deployment-wide names."""

    model_config = SettingsConfigDict(env_prefix="NOTIFICATION_")
    service: ClassVar[str] = "notification-service"

    port: int = Field(8004, description="Port the service listens on.")
    cursor_key: Secret = Field(description="Key that signs list cursors, 32+ characters.")
    task_worker_url: str = Field(
        "http://task-worker:8005", description="Where the events are that an emptied inbox is rebuilt from."
    )
    inbox_size: Annotated[int, Field(ge=10)] = Field(500, description="Notifications kept for a user; older ones go.")
    kept: timedelta = Field(timedelta(days=30), description="How long an inbox and known event ids are kept.")
    heartbeat: timedelta = Field(timedelta(seconds=15), description="Silence on a live stream before a heartbeat.")
    max_streams: Annotated[int, Field(ge=1)] = Field(1_000, description="Live streams of one process; more get 503.")
    max_in_flight: Annotated[int, Field(ge=1)] = Field(
        1_256, description="Requests worked on at once, live streams included; more get 503."
    )
    slowest_reader: timedelta = Field(
        timedelta(seconds=30), description="How long a live stream may take no data before it is closed."
    )
