"""The service over HTTP on a real Redis, two replicas of it included."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Self

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from redis.asyncio import Redis

from notification_service.app import make_app
from notification_service.settings import NotificationSettings
from notification_service.store.inboxes import FILLED
from shared.principal import Principal
from shared.testing import KEY, identity_headers, running, somebody

pytestmark = pytest.mark.engines
SERVICE = "notification-service"


def app(redis_data_url: str) -> FastAPI:
    return make_app(
        NotificationSettings(
            internal_identity_key=SecretStr(KEY.decode()),
            cursor_key=SecretStr("a cursor key for tests, used nowhere else"),
            redis_data_url=redis_data_url,
            task_worker_url="http://127.0.0.1:9",
        )
    )


@pytest.fixture
async def replicas(redis_data_url: str) -> AsyncIterator[list[httpx2.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(app(redis_data_url), SERVICE)) for _ in range(2)]


def as_user(principal: Principal) -> dict[str, str]:
    return identity_headers(SERVICE, principal)


def event(principal: Principal, event_id: str | None = None) -> dict[str, Any]:
    return {
        "event_id": event_id or str(uuid.uuid4()),
        "organization_id": principal.organization_id,
        "user_id": principal.user_id,
        "type": "task.succeeded",
        "title": "Your analysis is done",
        "data": {"task_id": "t1"},
        "occurred_at": datetime.now(UTC).isoformat(),
    }


async def notify(client: httpx2.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    headers = identity_headers(SERVICE, None, issuer="task-worker")
    reply = await client.post("/internal/notifications", json=body, headers=headers)
    assert reply.status_code == 202
    return dict(reply.json())


async def test_what_one_replica_accepts_the_other_shows(replicas: list[httpx2.AsyncClient]) -> None:
    ada = somebody()
    accepted = await notify(replicas[0], event(ada, "e1"))
    repeated = await notify(replicas[1], event(ada, "e1"))

    inbox = (await replicas[1].get("/notifications", headers=as_user(ada))).json()

    assert (accepted["duplicate"], repeated["duplicate"], repeated["id"]) == (False, True, accepted["id"])
    assert inbox["unread"] == 1
    assert inbox["notifications"][0] | {"created_at": ""} == {
        "id": accepted["id"],
        "type": "task.succeeded",
        "title": "Your analysis is done",
        "body": "",
        "data": {"task_id": "t1"},
        "read": False,
        "created_at": "",
    }


async def test_reading_one_and_reading_all(replicas: list[httpx2.AsyncClient]) -> None:
    ada, client = somebody(), replicas[0]
    ids = [(await notify(client, event(ada)))["id"] for _ in range(3)]

    one = await client.post(f"/notifications/{ids[0]}/read", headers=as_user(ada))
    after_one = (await client.get("/notifications?unread=true", headers=as_user(ada))).json()
    everything = await client.post("/notifications/read-all", headers=as_user(ada))
    after_all = (await client.get("/notifications", headers=as_user(ada))).json()

    assert (one.status_code, everything.status_code) == (204, 204)
    assert (after_one["unread"], len(after_one["notifications"])) == (2, 2)
    assert (after_all["unread"], len(after_all["notifications"])) == (0, 3)


async def test_pages_follow_a_cursor_that_is_good_for_its_user_alone(replicas: list[httpx2.AsyncClient]) -> None:
    ada, client = somebody(), replicas[0]
    for _ in range(3):
        await notify(client, event(ada))

    first = (await client.get("/notifications?limit=2", headers=as_user(ada))).json()
    cursor = first["next_cursor"]
    second = (await client.get(f"/notifications?limit=2&cursor={cursor}", headers=as_user(ada))).json()
    stolen = await client.get(f"/notifications?limit=2&cursor={cursor}", headers=as_user(somebody()))

    assert (len(first["notifications"]), len(second["notifications"]), second["next_cursor"]) == (2, 1, None)
    assert stolen.status_code == 422


@pytest.mark.parametrize("notification_id", ["x", str(uuid.uuid4()), "01a21058-a443-76e0-8dd1-16ebe2ba875e"])
async def test_an_unknown_or_foreign_one_is_404(replicas: list[httpx2.AsyncClient], notification_id: str) -> None:
    theirs = (await notify(replicas[0], event(somebody())))["id"]

    for unknown in (notification_id, theirs):
        reply = await replicas[0].post(f"/notifications/{unknown}/read", headers=as_user(somebody()))
        assert reply.status_code == 404


async def test_people_have_no_business_at_the_internal_door(replicas: list[httpx2.AsyncClient]) -> None:
    ada = somebody()

    reply = await replicas[0].post("/internal/notifications", json=event(ada), headers=as_user(ada))

    assert reply.status_code == 403


@pytest.mark.parametrize("query", ["limit=1&limit=2", "unread=true&unread=false", "cursor=a&cursor=b"])
async def test_a_parameter_given_twice_is_refused(replicas: list[httpx2.AsyncClient], query: str) -> None:
    reply = await replicas[0].get(f"/notifications?{query}", headers=as_user(somebody()))

    assert reply.status_code == 422
    assert "repeated_parameter" in [error["code"] for error in reply.json()["errors"]]


async def test_a_nonsense_last_event_id_is_refused(replicas: list[httpx2.AsyncClient]) -> None:
    headers = as_user(somebody()) | {"Last-Event-ID": "nonsense"}

    reply = await replicas[0].get("/notifications/stream", headers=headers)

    assert reply.status_code == 422


class Stream:
    """A live stream read straight from the application: ASGITransport of the client waits for the end of a reply."""

    def __init__(self, app: FastAPI, principal: Principal, last_event_id: str | None) -> None:
        headers = [(k.lower().encode(), v.encode()) for k, v in as_user(principal).items()]
        if last_event_id is not None:
            headers.append((b"last-event-id", last_event_id.encode()))
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/notifications/stream",
            "raw_path": b"/notifications/stream",
            "query_string": b"",
            "headers": headers,
            "app": app,
        }
        self._app = app
        self._gone = asyncio.Event()
        self.text = ""

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.text += bytes(message.get("body", b"")).decode()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))  # type: ignore[arg-type]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def events(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(10):
            while self.text.count("event: notification") < count:  # noqa: ASYNC110 - filled by the application
                await asyncio.sleep(0.01)
        return [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: ")]


async def test_a_stream_is_fed_by_any_replica_and_resumes_on_another(redis_data_url: str) -> None:
    ada = somebody()
    one, other = app(redis_data_url), app(redis_data_url)
    async with running(one, SERVICE), running(other, SERVICE) as client:
        async with Stream(one, ada, "0") as stream:
            await asyncio.sleep(0.3)
            await notify(client, event(ada))
            (first,) = await stream.events(1)
        await notify(client, event(ada))
        async with Stream(other, ada, first["id"]) as resumed:
            (second,) = await resumed.events(1)
        async with Stream(other, ada, "0") as whole:
            both = await whole.events(2)

    assert [n["id"] for n in both] == [first["id"], second["id"]]


async def test_a_draining_process_ends_its_streams(redis_data_url: str) -> None:
    ada, service = somebody(), app(redis_data_url)
    async with running(service, SERVICE), Stream(service, ada, None) as stream:
        await asyncio.sleep(0.2)

        service.draining.set()

        await asyncio.wait_for(stream._task, 5)


async def test_it_does_not_call_itself_filled_while_the_sender_is_away(
    replicas: list[httpx2.AsyncClient], redis_data_url: str
) -> None:
    assert (await replicas[0].get("/notifications", headers=as_user(somebody()))).status_code == 200
    redis = Redis.from_url(redis_data_url)
    try:
        assert not await redis.exists(FILLED)
    finally:
        await redis.aclose()
