import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from pydantic import SecretStr

from knowledge_service.app import make_app
from knowledge_service.settings import KnowledgeSettings
from local_stack.engines.temporary import CqlKeyspace
from shared.cql import Cql
from shared.migrations_cql import migrate_cql
from shared.principal import Principal
from shared.testing import KEY, eventually, identity_headers, somebody

NOBODY_THERE = "http://127.0.0.1:9"
NOTHING_THERE = 9
"""A port nothing listens on."""


class Wire:
    """A way to an engine that can be cut and mended, since the engine itself serves other tests too."""

    def __init__(self, host: str, port: int) -> None:
        self._engine = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._engine)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)


@pytest.fixture
async def cql_wire(settings: KnowledgeSettings) -> AsyncIterator[Wire]:
    wire = Wire(settings.contact_points[0], settings.scylla_port)
    await wire.mend()
    yield wire
    await wire.cut()


@pytest.fixture
async def redis_wire(settings: KnowledgeSettings) -> AsyncIterator[Wire]:
    url = urlsplit(settings.data_url)
    assert url.hostname is not None
    assert url.port is not None
    wire = Wire(url.hostname, url.port)
    await wire.mend()
    yield wire
    await wire.cut()


Replica = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture(scope="module")
def settings(
    cql_keyspace: CqlKeyspace, redis_data_url: str, tmp_path_factory: pytest.TempPathFactory
) -> KnowledgeSettings:
    found = KnowledgeSettings(
        internal_identity_key=SecretStr(KEY.decode()),
        cursor_key=SecretStr("a cursor key for tests only, never used outside"),
        scylla_host=cql_keyspace.host,
        scylla_port=cql_keyspace.port,
        scylla_datacenter=cql_keyspace.datacenter,
        keyspace=cql_keyspace.name,
        redis_data_url=redis_data_url,
        auth_service_url=NOBODY_THERE,
        state_dir=tmp_path_factory.mktemp("state"),
    )
    migrate_cql(found, "knowledge_service")
    return found


@pytest.fixture(scope="module")
async def cql(settings: KnowledgeSettings) -> AsyncIterator[Cql]:
    connected = Cql(settings, capability="knowledge")
    await connected._connect()
    yield connected
    await connected.close()


@pytest.fixture
def principal() -> Principal:
    return somebody("owner")


@asynccontextmanager
async def replica_of(settings: KnowledgeSettings, principal: Principal | None) -> AsyncIterator[httpx2.AsyncClient]:
    app = make_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://knowledge-service",
            headers=identity_headers("knowledge-service", principal, "gateway" if principal else "chat-service"),
        ) as client,
    ):
        if settings.scylla_port != NOTHING_THERE:
            await eventually(lambda: _connected(client))
        yield client


async def _connected(client: httpx2.AsyncClient) -> bool:
    return bool((await client.get("/internal/health")).json()["databases"]["cql"] == "ok")


@pytest.fixture
def replica(settings: KnowledgeSettings, tmp_path: Path) -> Replica:
    """Starts one more process of the service, with a state folder of its own unless one is given."""

    def start(principal: Principal | None, **changed: Any) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        own = {"state_dir": tmp_path, **changed}
        return replica_of(settings.model_copy(update=own), principal)

    return start
