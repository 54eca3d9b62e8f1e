"""What the gateway reads from its environment at start."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import RedisSettings, ServiceSettings


class GatewaySettings(RedisSettings, ServiceSettings):
    """Settings of the gateway: `GATEWAY_…`, then the deployment-wide names."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")
    service: ClassVar[str] = "gateway"

    port: int = Field(8000, description="Port the gateway listens on.")
    listen_fd: int | None = Field(
        None, description="Inherited listening socket instead of host and port: a restart behind it refuses nobody."
    )
    max_in_flight: int = Field(
        256, ge=1, description="Most requests worked on at once in each pool; how many in fact follows their latency."
    )
    max_connections: int = Field(8192, ge=16, description="Open connections of clients; more get 503 and are closed.")
    auth_service_url: str = Field("http://127.0.0.1:8001", description="Replicas of auth-service, separated by commas.")
    chat_service_url: str = Field("http://127.0.0.1:8002", description="Replicas of chat-service, separated by commas.")
    knowledge_service_url: str = Field("http://127.0.0.1:8003", description="Replicas of knowledge-service.")
    notification_service_url: str = Field("http://127.0.0.1:8004", description="Replicas of notification-service.")
    task_worker_url: str = Field("http://127.0.0.1:8005", description="Replicas of task-worker's API.")
    token_issuer: str = Field("multidb", description="`iss` that access tokens must have.")
    token_audience: str = Field("multidb-api", description="`aud` that access tokens must have.")
    trusted_proxies: str = Field(
        "", description="Addresses or networks, separated by commas, whose X-Forwarded-For counts; none by default."
    )
    anonymous_rate: float = Field(50, gt=0, description="Requests a second from one address without a token.")
    anonymous_burst: int = Field(200, ge=1, description="Requests at once from one address without a token.")

    @property
    def upstreams(self) -> dict[str, str]:
        """The replicas of every service by its name."""
        return {
            "auth-service": self.auth_service_url,
            "chat-service": self.chat_service_url,
            "knowledge-service": self.knowledge_service_url,
            "notification-service": self.notification_service_url,
            "task-worker": self.task_worker_url,
        }
