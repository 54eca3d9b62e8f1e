"""The services of the stack: which package serves, which name its settings have, what it needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its API process, its workers and its one-shots."""

    name: str
    package: str
    prefix: str
    url_setting: str
    calls: tuple[str, ...] = ()  # the services whose addresses it gets, and with which it restarts when they change
    migrates: str | None = None  # the engine its migrations speak to
    has_workers: bool = False
    seeds: bool = False


SERVICES = (
    Service(
        "gateway",
        "gateway",
        "GATEWAY",
        "GATEWAY_URL",
        calls=("auth-service", "chat-service", "knowledge-service", "notification-service", "task-worker"),
    ),
    Service("auth-service", "auth_service", "AUTH", "AUTH_SERVICE_URL", migrates="postgresql"),
    Service(
        "chat-service",
        "chat_service",
        "CHAT",
        "CHAT_SERVICE_URL",
        calls=("auth-service", "knowledge-service"),
        migrates="cassandra",
    ),
    Service(
        "knowledge-service",
        "knowledge_service",
        "KNOWLEDGE",
        "KNOWLEDGE_SERVICE_URL",
        calls=("auth-service",),
        migrates="cassandra",
        seeds=True,
    ),
    Service(
        "notification-service",
        "notification_service",
        "NOTIFICATION",
        "NOTIFICATION_SERVICE_URL",
        calls=("task-worker",),
    ),
    Service(
        "task-worker",
        "task_worker",
        "TASK",
        "TASK_WORKER_URL",
        calls=("auth-service", "chat-service", "knowledge-service", "notification-service"),
        migrates="postgresql",
        has_workers=True,
    ),
)
