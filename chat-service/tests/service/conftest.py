"""A chat-service over real engines, each behind a faucet, with twins for its neighbours."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from pydantic import SecretStr

from chat_service.settings import ChatSettings
from chat_service.testing import Running, running_chat
from local_stack.engines.temporary import CqlKeyspace
from shared.cql import Cql
from shared.migrations_cql import migrate_cql
from shared.principal import Principal
from shared.testing import KEY, eventually, somebody


@pytest.fixture(scope="module")
def settings(
    cql_keyspace: CqlKeyspace, redis_cache_url: str, redis_data_url: str, tmp_path_factory: pytest.TempPathFactory
) -> ChatSettings:
    made = ChatSettings(
        internal_identity_key=SecretStr(KEY.decode()),
        cursor_key=SecretStr("a cursor key for tests, used nowhere else"),
        scylla_host=cql_keyspace.host,
        scylla_port=cql_keyspace.port,
        keyspace=cql_keyspace.name,
        redis_cache_url=redis_cache_url,
        redis_data_url=redis_data_url,
        state_dir=tmp_path_factory.mktemp("state"),
    )
    migrate_cql(made, "chat_service")
    return made


@pytest_asyncio.fixture(scope="module")
async def chat(settings: ChatSettings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One chat-service for the tests of a module."""
    async with running_chat(settings, tmp_path_factory.mktemp("chat")) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def cql(settings: ChatSettings) -> AsyncIterator[Cql]:
    """A connected session."""
    session = Cql(settings, capability="conversations")
    await session.start()

    async def is_there() -> bool:
        return session.status == "ok"

    await eventually(is_there)
    yield session
    await session.close()


@pytest.fixture
def ada() -> Principal:
    """Somebody new in every test."""
    return somebody()
