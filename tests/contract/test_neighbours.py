"""Each consumer's own client against the provider's own routes, on real engines: one understands the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

import auth_service.app
import chat_service.app
import knowledge_service.app
import notification_service.app
import task_worker.app
from auth_service.settings import AuthSettings
from chat_service.clients.accounts import AuthAccounts
from chat_service.clients.knowledge import KnowledgeAnswers
from chat_service.domain import quota
from chat_service.domain.answers import Question
from chat_service.settings import ChatSettings
from knowledge_service.clients.organizations import AuthOrganizations
from knowledge_service.settings import KnowledgeSettings
from local_stack.engines.running import EngineAddresses
from local_stack.engines.temporary import CqlKeyspace, PostgresDatabase, temporary_database
from notification_service.clients.outbox import TaskWorkerOutbox
from notification_service.settings import NotificationSettings
from shared.errors import NotFound, QuotaExceeded
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.ids import new_id
from shared.migrations_cql import migrate_cql
from shared.migrations_postgres import migrate_postgres
from shared.principal import Principal
from shared.testing import KEY, identity_headers, running
from task_worker.clients.conversations import ChatConversations
from task_worker.clients.knowledge import ServiceKnowledge
from task_worker.clients.notifications import ServiceNotifications
from task_worker.clients.quota import AuthQuota
from task_worker.domain.task import Event, Settling
from task_worker.settings import TaskSettings

pytestmark = pytest.mark.engines

SECRET = SecretStr("a secret for tests only, 32 characters")
IDENTITY = SecretStr(KEY.decode())
NOBODY = "http://127.0.0.1:9"


@asynccontextmanager
async def calling(consumer: str, provider: FastAPI) -> AsyncIterator[ServiceClient]:
    """The consumer's client, its network replaced by the provider's application."""
    service = provider.title
    signer = IdentitySigner(KEY, consumer)
    patient = timedelta(seconds=20)  # a busy machine is no outage
    client = ServiceClient(
        service, NOBODY, signer, capability="accounts", deadline=patient, transport=httpx2.ASGITransport(provider)
    )
    yield client
    await client.close()


def postgres(database: PostgresDatabase) -> dict[str, object]:
    return {
        "internal_identity_key": IDENTITY,
        "cursor_key": SECRET,
        "postgres_host": database.host,
        "postgres_port": database.port,
        "postgres_user": database.user,
        "postgres_password": SecretStr(database.password),
        "postgres_db": database.name,
        "postgres_app_user": database.app_user,
        "postgres_app_password": SecretStr(database.app_password),
    }


def cql(keyspace: CqlKeyspace, redis_cache_url: str, redis_data_url: str, state: Path) -> dict[str, object]:
    return {
        "internal_identity_key": IDENTITY,
        "cursor_key": SECRET,
        "scylla_host": keyspace.host,
        "scylla_port": keyspace.port,
        "scylla_datacenter": keyspace.datacenter,
        "keyspace": keyspace.name,
        "redis_cache_url": redis_cache_url,
        "redis_data_url": redis_data_url,
        "auth_service_url": NOBODY,
        "state_dir": state,
    }


@pytest.fixture
async def auth(postgres_database: PostgresDatabase) -> AsyncIterator[FastAPI]:
    settings = AuthSettings(**postgres(postgres_database), password_pepper=SECRET, signing_key_secret=SECRET)
    await migrate_postgres(settings, "auth_service")
    app = auth_service.app.make_app(settings)
    async with running(app, "auth-service"):
        yield app


@pytest.fixture
async def tasks(engines: EngineAddresses) -> AsyncIterator[FastAPI]:
    assert engines.postgresql is not None
    with temporary_database(engines.postgresql) as database:
        settings = TaskSettings(**postgres(database))
        await migrate_postgres(settings, "task_worker")
        app = task_worker.app.make_app(settings)
        async with running(app, "task-worker"):
            yield app


@pytest.fixture
async def knowledge(
    cql_keyspace: CqlKeyspace, redis_cache_url: str, redis_data_url: str, tmp_path: Path
) -> AsyncIterator[FastAPI]:
    settings = KnowledgeSettings(**cql(cql_keyspace, redis_cache_url, redis_data_url, tmp_path))
    migrate_cql(settings, "knowledge_service")
    app = knowledge_service.app.make_app(settings)
    async with running(app, "knowledge-service"):
        yield app


@pytest.fixture
async def chat(
    cql_keyspace: CqlKeyspace, redis_cache_url: str, redis_data_url: str, tmp_path: Path
) -> AsyncIterator[FastAPI]:
    settings = ChatSettings(
        **cql(cql_keyspace, redis_cache_url, redis_data_url, tmp_path), knowledge_service_url=NOBODY
    )
    migrate_cql(settings, "chat_service")
    app = chat_service.app.make_app(settings)
    async with running(app, "chat-service") as client:
        while "unavailable" in (await client.get("/internal/health")).text:  # noqa: ASYNC110 - it tells no one
            await asyncio.sleep(0.05)
        yield app


@pytest.fixture
async def notifications(redis_data_url: str) -> AsyncIterator[FastAPI]:
    app = notification_service.app.make_app(
        NotificationSettings(
            internal_identity_key=IDENTITY, cursor_key=SECRET, redis_data_url=redis_data_url, task_worker_url=NOBODY
        )
    )
    async with running(app, "notification-service"):
        yield app


async def owner(auth: FastAPI) -> Principal:
    """Somebody who registered."""
    body = {"email": f"{new_id().hex}@example.com", "password": "SecurePass123!"}
    headers = identity_headers("auth-service", None) | {"X-Client-Address": "127.0.0.1"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(auth), base_url="http://auth") as client:
        made = (await client.post("/auth/register", json=body, headers=headers)).raise_for_status().json()
    return Principal(made["user"]["id"], made["organization"]["id"], "owner", "free", "t")


async def test_chat_leases_units_and_reports_what_it_burned(auth: FastAPI) -> None:
    organization_id = (await owner(auth)).organization_id
    async with calling("chat-service", auth) as client:
        accounts = AuthAccounts(client, "chat-1")

        grant = await accounts.lease(organization_id, 10)
        event = quota.UsageEvent(organization_id, str(new_id()), grant.lease_id, datetime.now(UTC))
        await accounts.report([event, event], [quota.LeaseReturn(organization_id, grant.lease_id, grant.granted - 1)])
        after = await accounts.lease(organization_id, 1)

    assert 1 <= grant.granted <= 10
    assert (grant.used, grant.limit, after.used) == (0, 1_000, 1)


async def test_a_task_reserves_commits_and_meets_the_end_of_the_plan(auth: FastAPI) -> None:
    organization_id = (await owner(auth)).organization_id
    async with calling("task-worker", auth) as client:
        reserved = AuthQuota(client)
        first = new_id()
        await reserved.reserve(organization_id, first)
        await reserved.reserve(organization_id, first)
        await reserved.settle(Settling(organization_id=organization_id, task_id=first, outcome="refund", tries=0))
        for _ in range(10):
            await reserved.reserve(organization_id, new_id())
        with pytest.raises(QuotaExceeded) as refusal:
            await reserved.reserve(organization_id, new_id())

    assert refusal.value.extra["resets_at"]


async def test_knowledge_learns_whether_an_organization_wants_the_sample(auth: FastAPI) -> None:
    organization_id = (await owner(auth)).organization_id
    async with calling("knowledge-service", auth) as client:
        assert await AuthOrganizations(client).wants_sample(organization_id)


async def test_chat_asks_and_learns_the_epoch(knowledge: FastAPI) -> None:
    organization_id = str(new_id())
    async with calling("chat-service", knowledge) as client:
        answers = KnowledgeAnswers(client)

        published = await answers.published(organization_id)
        answer, _ = await answers.ask(Question(organization_id, "What is Redis?", None, ()))

    assert answer.outcome == "answered"
    assert answer.citation is not None
    assert "Redis" in answer.citation.text
    assert (answer.epoch, answer.scorer) == (published.epoch, published.scorer)


async def test_research_looks_up_several_questions(knowledge: FastAPI) -> None:
    async with calling("task-worker", knowledge) as client:
        lookup = await ServiceKnowledge(client).look_up(str(new_id()), ["What is Redis?", "what is postgresql"], 3)

    assert [hits[0].question for hits in lookup.hits] == ["What is Redis?", "What is PostgreSQL?"]


async def test_analysis_reads_an_empty_export_to_its_end(chat: FastAPI) -> None:
    now = datetime.now(UTC)
    async with calling("task-worker", chat) as client:
        pages = ChatConversations(client).pages(str(new_id()), now - timedelta(days=3), now)

        assert [list(page) async for page in pages] == [[]]


async def test_a_task_tells_its_user_once(notifications: FastAPI) -> None:
    event = Event(
        str(new_id()), str(new_id()), str(new_id()), "task.succeeded", "Done", "", {"task_id": "t"}, datetime.now(UTC)
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(calling("task-worker", notifications))
        for _ in range(2):
            await ServiceNotifications(client).notify(event)
        user = Principal(event.user_id, event.organization_id, "owner", "free", "t")
        reader = httpx2.AsyncClient(transport=httpx2.ASGITransport(notifications), base_url="http://n")
        await stack.enter_async_context(reader)
        inbox = (await reader.get("/notifications", headers=identity_headers("notification-service", user))).json()

    assert [note["data"] for note in inbox["notifications"]] == [{"task_id": "t"}]


async def test_the_outbox_can_be_read_to_its_end(tasks: FastAPI) -> None:
    async with calling("notification-service", tasks) as client:
        assert [event async for event in TaskWorkerOutbox(client, timedelta(days=30)).events()] == []


async def test_a_neighbours_refusal_is_raised_as_its_own_class(auth: FastAPI) -> None:
    async with calling("task-worker", auth) as client:
        organization_id = (await owner(auth)).organization_id
        with pytest.raises(NotFound):
            await AuthQuota(client).settle(
                Settling(organization_id=organization_id, task_id=new_id(), outcome="commit", tries=0)
            )
