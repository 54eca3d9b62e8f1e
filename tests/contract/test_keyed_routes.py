"""Every route that takes an Idempotency-Key answers the same to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

import auth_service.app
import chat_service.app
import knowledge_service.app
import task_worker.app
from auth_service.settings import AuthSettings
from chat_service.settings import ChatSettings
from chat_service.testing import Neighbours
from knowledge_service.settings import KnowledgeSettings
from local_stack.engines.running import EngineAddresses
from local_stack.engines.temporary import CqlKeyspace, PostgresDatabase, temporary_database, temporary_keyspace
from shared import idempotency
from shared.ids import new_id
from shared.migrations_cql import migrate_cql
from shared.migrations_postgres import migrate_postgres
from shared.testing import KEY, eventually, running, somebody
from task_worker.settings import TaskSettings
from task_worker.testing import running_neighbours

pytestmark = pytest.mark.engines

SECRET = SecretStr("a secret for tests only, 32 characters")
COMMON = {"internal_identity_key": SecretStr(KEY.decode()), "cursor_key": SECRET}

BAD_KEYS = {
    "empty": [""],
    "too long": ["k" * 256],
    "with a space": ["a key"],
    "beyond ASCII": ["cl\xe9"],
    "twice": ["one", "two"],
}


@dataclass(frozen=True)
class Keyed:
    """A route that takes a key, and two different requests to it."""

    service: str
    path: str
    status: int
    body: Any
    other: Any

    async def send(self, client: httpx2.AsyncClient, *keys: str, other: bool = False) -> httpx2.Response:
        headers = [("Idempotency-Key", key.encode("latin-1")) for key in keys]
        headers.append(("X-Client-Address", b"127.0.0.1"))
        query = {"dry_run": "true"} if other and self.body is None else {}
        return await client.post(self.path, json=self.other if other else self.body, params=query, headers=headers)


def newcomer() -> dict[str, str]:
    return {"email": f"{new_id().hex}@example.com", "password": "Correct-Horse-Battery-9"}


ROUTES = [
    Keyed("auth-service", "/auth/register", 201, newcomer(), newcomer()),
    Keyed("chat-service", "/chat/message", 200, {"message": "What is Redis?"}, {"message": "Why?"}),
    Keyed("knowledge-service", "/knowledge/articles", 201, {"question": "How?", "answer": "So."}, {"question": "Why?"}),
    Keyed("knowledge-service", "/knowledge/publish", 200, None, None),
    Keyed(
        "knowledge-service",
        "/knowledge/import",
        202,
        {"articles": [{"question": "How?", "answer": "So."}]},
        {"articles": []},
    ),
    Keyed("task-worker", "/tasks/analyze", 202, {"description": "volume by day"}, {"description": "by hour"}),
    Keyed("task-worker", "/tasks/research", 202, {"description": "what is Redis?"}, {"description": "why?"}),
]


def in_postgres(database: PostgresDatabase) -> dict[str, Any]:
    return COMMON | {
        "postgres_host": database.host,
        "postgres_port": database.port,
        "postgres_user": database.user,
        "postgres_password": SecretStr(database.password),
        "postgres_db": database.name,
        "postgres_app_user": database.app_user,
        "postgres_app_password": SecretStr(database.app_password),
    }


def in_cql(keyspace: CqlKeyspace, redis_cache_url: str, redis_data_url: str, state: Path) -> dict[str, Any]:
    return COMMON | {
        "scylla_host": keyspace.host,
        "scylla_port": keyspace.port,
        "scylla_datacenter": keyspace.datacenter,
        "keyspace": keyspace.name,
        "redis_cache_url": redis_cache_url,
        "redis_data_url": redis_data_url,
        "state_dir": state,
    }


@asynccontextmanager
async def whole(app: Any, service: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with running(app, service, somebody("owner")) as client:

        async def is_whole() -> bool:
            return "unavailable" not in (await client.get("/internal/health")).text

        await eventually(is_whole)
        yield client


@pytest.fixture(scope="module")
async def clients(
    engines: EngineAddresses, redis_cache_url: str, redis_data_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, httpx2.AsyncClient]]:
    """All the services that have keyed routes, each with a database of its own."""
    assert engines.postgresql is not None
    assert engines.cql is not None
    async with AsyncExitStack() as stack:
        databases = [stack.enter_context(temporary_database(engines.postgresql)) for _ in range(2)]
        keyspaces = [stack.enter_context(temporary_keyspace(engines.cql)) for _ in range(2)]
        _, neighbours = stack.enter_context(running_neighbours())
        auth = AuthSettings(**in_postgres(databases[0]), password_pepper=SECRET, signing_key_secret=SECRET)
        tasks = TaskSettings(**in_postgres(databases[1]), auth_service_url=neighbours)
        state = tmp_path_factory.mktemp("state")
        chat = ChatSettings(**in_cql(keyspaces[0], redis_cache_url, redis_data_url, state / "chat"))
        knowledge = KnowledgeSettings(**in_cql(keyspaces[1], redis_cache_url, redis_data_url, state / "knowledge"))
        await migrate_postgres(auth, "auth_service")
        await migrate_postgres(tasks, "task_worker")
        migrate_cql(chat, "chat_service")
        migrate_cql(knowledge, "knowledge_service")
        apps = {
            "auth-service": auth_service.app.make_app(auth),
            "task-worker": task_worker.app.make_app(tasks),
            "chat-service": chat_service.app.make_app(chat, Neighbours().transports()),
            "knowledge-service": knowledge_service.app.make_app(knowledge),
        }
        yield {name: await stack.enter_async_context(whole(app, name)) for name, app in apps.items()}


@pytest.fixture(params=ROUTES, ids=lambda route: route.path)
def route(request: pytest.FixtureRequest) -> Keyed:
    found: Keyed = request.param
    return found


@pytest.fixture
def client(clients: dict[str, httpx2.AsyncClient], route: Keyed) -> httpx2.AsyncClient:
    return clients[route.service]


@pytest.mark.parametrize("keys", BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_a_bad_key_is_refused_in_the_same_words(
    client: httpx2.AsyncClient, route: Keyed, keys: list[str]
) -> None:
    refused = await route.send(client, *keys)

    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"] == [
        {
            "field": "Idempotency-Key",
            "code": "invalid_header",
            "message": "must be one key of 1-255 visible ASCII characters",
        }
    ]


async def test_a_repeat_gets_the_first_reply_and_another_request_is_refused(
    client: httpx2.AsyncClient, route: Keyed
) -> None:
    key = str(new_id())

    first = await route.send(client, key)
    again = await route.send(client, key)
    other = await route.send(client, key, other=True)

    assert first.status_code == again.status_code == route.status, first.text
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert again.headers.get("location") == first.headers.get("location")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_repeats_that_come_at_once_wait_for_the_first(
    client: httpx2.AsyncClient, route: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE", timedelta(seconds=20))  # a busy machine hashes a password for seconds
    if route.path == "/auth/register":
        route = Keyed(route.service, route.path, route.status, newcomer(), None)
    key = str(new_id())

    replies = await asyncio.gather(*(route.send(client, key) for _ in range(4)))

    assert [reply.status_code for reply in replies] == [route.status] * 4
    assert len({reply.content for reply in replies}) == 1
    assert sum("idempotency-replayed" not in reply.headers for reply in replies) == 1


def test_every_operation_that_documents_the_key_is_tried(clients: dict[str, httpx2.AsyncClient]) -> None:
    applications = {name: client._transport.app for name, client in clients.items()}  # type: ignore[attr-defined]
    documented = {
        path
        for application in applications.values()
        for path, methods in documents(application)["paths"].items()
        for operation in methods.values()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    }

    assert documented == {route.path for route in ROUTES}


def documents(application: Any) -> dict[str, Any]:
    """The document of an application, or of the one behind what a server runs instead."""
    while not hasattr(application, "openapi"):
        application = application._app
    document: dict[str, Any] = application.openapi()
    return document
