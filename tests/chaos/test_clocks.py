"""Two chat-services whose machines disagree about the time, by libfaketime: what a user did last holds."""

import asyncio
import glob
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest
import uvicorn
from pydantic import SecretStr
from redis.asyncio import Redis

from chat_service.settings import ChatSettings
from chat_service.store.deferred import STREAM
from chat_service.testing import Faucet, Neighbours, neighbour_apps
from local_stack.engines.temporary import CqlKeyspace
from local_stack.ports import free_port
from shared.identity import IdentitySigner
from shared.migrations_cql import migrate_cql
from shared.principal import Principal
from shared.testing import KEY, eventually, somebody

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)  # noqa: PTH207 - a path from the root
pytestmark = [
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (package faketime)"),
]
SECONDS = pytest.mark.parametrize("seconds", [-90, -10, -2, 2, 10, 90])


@dataclass
class Replica:
    """One chat-service and its clock."""

    client: httpx2.AsyncClient
    seconds: int

    def headers(self, who: Principal | None) -> dict[str, str]:
        """An identity that is valid by the clock of this replica: the gateway's clock is not what is tested here."""
        signer = IdentitySigner(KEY, "gateway", clock=lambda: time.time() + self.seconds)
        return {"X-Internal-Identity": signer.sign("chat-service", who).decode()}

    async def send(self, who: Principal, text: str) -> httpx2.Response:
        """Send a message to the session."""
        body = {"message": text, "session_id": "s"}
        return await self.client.post("/chat/message", json=body, headers=self.headers(who))

    async def rate(self, who: Principal, message_id: str, rating: str) -> None:
        """Rate an answer."""
        path = f"/chat/sessions/s/messages/{message_id}/feedback"
        reply = await self.client.put(path, json={"rating": rating}, headers=self.headers(who))
        assert reply.status_code == 200, reply.text

    async def delete(self, who: Principal) -> None:
        """Delete the session."""
        reply = await self.client.delete("/chat/sessions/s", headers=self.headers(who))
        assert reply.status_code == 204, reply.text

    async def history(self, who: Principal) -> list[dict[str, str]]:
        """The messages of the session, oldest first; none where there is no session."""
        reply = await self.client.get("/chat/history/s?limit=100", headers=self.headers(who))
        messages: list[dict[str, str]] = reply.json().get("messages", [])
        return messages


@pytest.fixture(scope="module")
def settings(cql_keyspace: CqlKeyspace, redis_cache_url: str, redis_data_url: str) -> ChatSettings:
    made = ChatSettings(
        internal_identity_key=SecretStr(KEY.decode()),
        cursor_key=SecretStr("a cursor key for tests, used nowhere else"),
        scylla_host=cql_keyspace.host,
        scylla_port=cql_keyspace.port,
        keyspace=cql_keyspace.name,
        redis_cache_url=redis_cache_url,
        redis_data_url=redis_data_url,
    )
    migrate_cql(made, "chat_service")
    return made


@asynccontextmanager
async def two(
    settings: ChatSettings, folder: Path, seconds: int
) -> AsyncIterator[tuple[Replica, Replica, Faucet, Principal]]:
    """A replica with a right clock and one with a wrong one, CQL behind a faucet, and somebody who asks."""
    neighbours, who = Neighbours(), somebody()
    neighbours.knowledge.publish(who.organization_id, "What is Redis?", "A store in memory.")
    cql = Faucet(settings.contact_points[0], settings.scylla_port)
    await cql.open()
    ports = {name: free_port() for name in neighbour_apps(neighbours)}
    servers = [
        uvicorn.Server(uvicorn.Config(app, port=ports[name], log_config=None))
        for name, app in neighbour_apps(neighbours).items()
    ]
    serving = [asyncio.create_task(server.serve()) for server in servers]
    try:
        async with AsyncExitStack() as stack:
            replicas = []
            for offset in (0, seconds):
                port = free_port()
                stack.enter_context(_process(settings, folder / str(offset), offset, port, cql.port, ports))
                client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)
                replicas.append(Replica(await stack.enter_async_context(client), offset))
            for replica in replicas:
                await eventually(partial(_is_whole, replica), within=60, despite=(httpx2.TransportError,))
            yield replicas[0], replicas[1], cql, who
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        await cql.close()


@contextmanager
def _process(
    settings: ChatSettings, folder: Path, seconds: int, port: int, cql_port: int, neighbours: dict[str, int]
) -> Iterator[None]:
    """A chat-service of its own whose wall clock is `seconds` ahead."""
    folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "CHAT_PORT": str(port),
        "CHAT_STATE_DIR": str(folder),
        "CHAT_KEYSPACE": settings.keyspace,
        "CHAT_CURSOR_KEY": settings.cursor_key.get_secret_value(),
        "CHAT_AUTH_SERVICE_URL": f"http://127.0.0.1:{neighbours['auth-service']}",
        "CHAT_KNOWLEDGE_SERVICE_URL": f"http://127.0.0.1:{neighbours['knowledge-service']}",
        "INTERNAL_IDENTITY_KEY": KEY.decode(),
        "SCYLLA_HOST": settings.scylla_host,
        "SCYLLA_PORT": str(cql_port),
        "REDIS_CACHE_URL": settings.cache_url,
        "REDIS_DATA_URL": settings.data_url,
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{seconds:+d}s",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with (folder / "log").open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "chat_service"], env=environment, stdout=written, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


async def _is_whole(replica: Replica) -> bool:
    """Whether it has its engines, and saw by how much its clock is wrong."""
    said = (await replica.client.get("/internal/health", headers=replica.headers(None))).json()
    close = said["clock_skew_ms"] is not None and abs(said["clock_skew_ms"] - replica.seconds * 1000) < 500
    return set(said["databases"].values()) == {"ok"} and close


@SECONDS
async def test_what_was_done_last_holds_whatever_the_clocks(
    settings: ChatSettings, tmp_path: Path, seconds: int
) -> None:
    async with two(settings, tmp_path, seconds) as (right, wrong, cql, who):
        message_id = (await right.send(who, "What is Redis?")).json()["message_id"]
        for replica, rating in ((wrong, "up"), (right, "down"), (wrong, "up"), (right, "down")):
            await replica.rate(who, message_id, rating)
        assert (await wrong.history(who))[-1]["rating"] == "down"

        await wrong.send(who, "What is Redis?")
        await right.delete(who)
        assert await wrong.history(who) == []

        await wrong.send(who, "What is Redis?")
        await wrong.delete(who)
        assert await right.history(who) == []

        await right.send(who, "After the deletion?")
        assert [m["text"] for m in await wrong.history(who) if m["role"] == "user"] == ["After the deletion?"]

        cql.freeze()
        deferred = await eventually(lambda: _deferred(wrong, who))
        assert deferred["persisted"] == "deferred"
        await cql.open()
        await eventually(lambda: _deleted(right, who), within=20)
        await eventually(lambda: _is_whole(wrong), within=20)
        await eventually(lambda: _is_drained(settings), within=20)
        assert await right.history(who) == []


async def _deferred(replica: Replica, who: Principal) -> dict[str, str] | None:
    reply: dict[str, str] = (await replica.send(who, "Deferred?")).json()
    return reply if reply["persisted"] == "deferred" else None


async def _is_drained(settings: ChatSettings) -> bool:
    async with Redis.from_url(settings.data_url) as redis:
        return bool(await redis.xlen(STREAM) == 0)


async def _deleted(replica: Replica, who: Principal) -> bool:
    reply = await replica.client.delete("/chat/sessions/s", headers=replica.headers(who))
    return reply.status_code in (204, 404)
