"""The public paths over HTTP, without a worker."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.testing import identity_headers
from task_worker.routes.bodies import TaskIn
from task_worker.settings import TaskSettings

Newcomer = Callable[..., Any]

CSV = b"day,region,amount\n" + b"".join(b"2024-10-%02d,North,%d\n" % (day, day) for day in range(1, 29))


def form(content: bytes, **fields: str) -> dict[str, Any]:
    return {
        "data": {"description": "amounts Q4 2024", **fields},
        "files": {"file": ("amounts.csv", content, "text/csv")},
    }


async def test_a_submission_is_accepted_with_its_location(person: Any) -> None:
    reply = await person.http.post("/tasks/analyze", json={"description": "Analyze sales trends Q4 2024"})

    body = reply.json()
    assert reply.status_code == 202
    assert set(body) == {"task_id", "kind", "status", "created_at"}
    assert (body["kind"], body["status"]) == ("analyze", "queued")
    assert reply.headers["location"] == f"/tasks/{body['task_id']}/status"
    assert datetime.fromisoformat(body["created_at"]) > datetime.now(UTC) - timedelta(seconds=5)


async def test_the_status_has_every_field_from_the_start(person: Any) -> None:
    status = await person.status(await person.submit("research", "latest trends in caching"))

    assert set(status) == {
        *("task_id", "kind", "status", "description", "progress", "result", "error"),
        *("created_at", "started_at", "finished_at"),
    }
    assert (status["status"], status["progress"]["percent"], status["result"]) == ("queued", 0, None)


@pytest.mark.parametrize("path", ["/tasks/{}/status", "/tasks/{}/cancel"])
async def test_foreign_absent_and_nonsense_ids_are_the_same_404(newcomer: Newcomer, path: str) -> None:
    alice = newcomer()
    task_id = await alice.submit()
    colleague, stranger = newcomer(alice.principal.organization_id), newcomer()
    method = "GET" if path.endswith("status") else "POST"

    replies = [
        await who.http.request(method, path.format(name))
        for who, name in ((colleague, task_id), (stranger, task_id), (alice, uuid4()), (alice, "x'--"), (alice, "1"))
    ]

    assert {reply.status_code for reply in replies} == {404}
    assert len({(reply.json()["code"], reply.json()["detail"]) for reply in replies}) == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "description"),
        ({"description": ""}, 422, "description"),
        ({"description": "   "}, 422, "description"),
        ({"description": "x" * 4_001}, 422, "description"),
        ({"description": "a\u0000b"}, 422, "description"),
        ({"description": 7}, 422, "description"),
        ({"description": "x", "extra": 1}, 422, "extra"),
    ],
)
async def test_a_bad_body_is_refused_and_named(person: Any, body: dict[str, Any], status: int, field: str) -> None:
    for kind in ("analyze", "research"):
        reply = await person.http.post(f"/tasks/{kind}", json=body)

        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in reply.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b'{"description": NaN}', "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"description": "a", "description": "b"}', "application/json", 400),
        (b'{"description": "\\ud800"}', "application/json", 422),
        (b'{"description": "x"}', "text/plain", 415),
        (b'{"description": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x", 422),
        (b"--x\r\n: \r\n\r\nx", "multipart/form-data; boundary=x", 400),
        (b"nonsense", "multipart/form-data", 400),
    ],
)
async def test_an_unreadable_body_is_refused(person: Any, content: bytes, media: str, status: int) -> None:
    reply = await person.http.post("/tasks/analyze", content=content, headers={"Content-Type": media})

    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")


async def test_a_file_is_taken_with_an_analysis_only(person: Any) -> None:
    accepted = await person.http.post("/tasks/analyze", **form(CSV))

    assert accepted.status_code == 202
    assert (await person.http.post("/tasks/research", **form(CSV))).status_code == 415
    assert (await person.http.post("/tasks/analyze", **form(CSV, more="x"))).status_code in (400, 422)
    assert (await person.http.post("/tasks/analyze", **form(b""))).status_code == 422


async def test_ten_mebibytes_are_taken_and_no_more(person: Any, migrated: TaskSettings) -> None:
    limit = migrated.upload_limit
    largest = CSV + b"#" * (limit - len(CSV))

    assert (await person.http.post("/tasks/analyze", **form(largest))).status_code == 202
    assert (await person.http.post("/tasks/analyze", **form(largest + b"#"))).status_code == 413
    assert (await person.http.post("/tasks/analyze", **form(largest * 2))).status_code == 413


async def test_the_same_key_gives_the_same_task_and_one_reservation(person: Any, neighbours: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"description": "volume by day"}

    first = await person.http.post("/tasks/analyze", json=body, headers=headers)
    again = await person.http.post("/tasks/analyze", json=body, headers=headers)
    other = await person.http.post("/tasks/analyze", json={"description": "else"}, headers=headers)
    elsewhere = await person.http.post("/tasks/research", json=body, headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert elsewhere.json()["task_id"] != first.json()["task_id"]
    assert neighbours.states(person.principal.organization_id) == {"reserved": 2}


async def test_twenty_requests_with_one_key_make_one_task(person: Any, neighbours: Any) -> None:
    replies = await asyncio.gather(
        *(
            person.http.post("/tasks/analyze", json={"description": "x"}, headers={"Idempotency-Key": "race"})
            for _ in range(20)
        )
    )

    assert {reply.status_code for reply in replies} <= {202, 409}
    assert len({reply.json()["task_id"] for reply in replies if reply.status_code == 202}) == 1
    assert neighbours.states(person.principal.organization_id) == {"reserved": 1}


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "n\u00fcll"])
async def test_a_bad_key_is_refused(person: Any, key: str) -> None:
    reply = await person.http.post(
        "/tasks/analyze", json={"description": "x"}, headers={"Idempotency-Key": key.encode("latin-1")}
    )

    assert reply.status_code == 422


async def test_a_spent_quota_passes_through_and_leaves_nothing(person: Any, neighbours: Any) -> None:
    neighbours.limit = 1
    await person.submit()

    refused = await person.http.post("/tasks/analyze", json={"description": "x"}, headers={"Idempotency-Key": "spent"})
    neighbours.limit = 2
    later = await person.http.post("/tasks/analyze", json={"description": "x"}, headers={"Idempotency-Key": "spent"})

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.json()["resets_at"]
    assert refused.headers["retry-after"]
    assert later.status_code == 202
    assert len((await person.http.get("/tasks")).json()["tasks"]) == 2


async def test_without_accounts_a_submission_is_refused_as_tasks_being_away(person: Any, neighbours: Any) -> None:
    neighbours.away = {"auth-service"}
    key = {"Idempotency-Key": "away"}

    refused = await person.http.post("/tasks/analyze", json={"description": "x"}, headers=key)
    neighbours.away = set()
    later = await person.http.post("/tasks/analyze", json={"description": "x"}, headers=key)

    assert (refused.status_code, refused.json()["code"]) == (503, "capability_unavailable")
    assert refused.json()["capability"] == "tasks"
    assert refused.headers["retry-after"]
    assert later.status_code == 202


async def test_the_list_is_walked_by_cursor(newcomer: Newcomer) -> None:
    alice = newcomer()
    made = [await alice.submit() for _ in range(5)]

    pages = [(await alice.http.get("/tasks?limit=2")).json()]
    while pages[-1]["next_cursor"]:
        pages.append((await alice.http.get(f"/tasks?limit=2&cursor={pages[-1]['next_cursor']}")).json())

    assert [task["task_id"] for page in pages for task in page["tasks"]] == made[::-1]
    assert [len(page["tasks"]) for page in pages] == [2, 2, 1]
    colleague = newcomer(alice.principal.organization_id)
    foreign = await colleague.http.get(f"/tasks?cursor={pages[0]['next_cursor']}")
    assert (foreign.status_code, foreign.json()["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=nonsense", "cursor=", "limit=1&limit=2"])
async def test_a_bad_page_is_refused(person: Any, query: str) -> None:
    assert (await person.http.get(f"/tasks?{query}")).status_code == 422


async def test_a_queued_task_can_be_cancelled(person: Any) -> None:
    task_id = await person.submit()

    cancelled = await person.http.post(f"/tasks/{task_id}/cancel")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await person.status(task_id))["finished_at"]


async def test_nobody_gets_in_without_an_identity(person: Any) -> None:
    for path in ("/tasks", f"/tasks/{uuid4()}/status", "/internal/outbox?since=2026-01-01T00:00:00Z"):
        reply = await person.http.get(path, headers={"X-Internal-Identity": "x.y"})
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    service = await person.http.get("/tasks", headers=identity_headers("task-worker", None, "chat-service"))
    assert service.status_code == 401
    assert (await person.http.get("/internal/outbox?since=2026-01-01T00:00:00Z")).status_code == 403


async def test_every_status_is_in_the_document(person: Any) -> None:
    document = (await person.http.get("/openapi.json")).json()
    submit = document["paths"]["/tasks/analyze"]["post"]

    assert set(submit["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert {"202", "400", "401", "409", "413", "415", "422", "429", "503"} <= set(submit["responses"])
    assert {"200", "401", "404", "503"} <= set(document["paths"]["/tasks/{task_id}/status"]["get"]["responses"])
    assert "/internal/outbox" not in document["paths"]
    schemas = document["components"]["schemas"]
    assert {"TaskIn", "TaskAccepted", "TaskOut", "TaskPage", "ResultOut", "FindingOut"} <= set(schemas)


async def test_submissions_are_quick(person: Any) -> None:
    took = []
    for _ in range(60):
        began = time.perf_counter()
        await person.submit()
        took.append(time.perf_counter() - began)

    assert sorted(took)[56] < 0.1


async def test_the_outbox_is_paged_for_a_rebuild(person: Any, workers: Any) -> None:
    workers.start()
    made = [await person.submit("research", "What is a cache?") for _ in range(3)]
    for task_id in made:
        await person.ended(task_id)
    service = identity_headers("task-worker", None, "notification-service")

    async def events() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/internal/outbox?since=2026-01-01T00:00:00Z&limit=2{cursor}"
            page = (await person.http.get(path, headers=service)).json()
            found += page["events"]
            if page["next_cursor"] is None:
                return [event for event in found if event["data"]["task_id"] in made]
            cursor = f"&cursor={page['next_cursor']}"

    kept = await events()

    assert {event["data"]["task_id"] for event in kept} == set(made)
    assert {event["type"] for event in kept} == {"task.succeeded"}
    assert all(event["user_id"] == person.principal.user_id for event in kept)


async def test_an_uploaded_file_is_analysed_by_a_worker(person: Any, workers: Any) -> None:
    workers.start()
    reply = await person.http.post("/tasks/analyze", **form(CSV))

    done = await person.ended(reply.json()["task_id"])

    assert done["status"] == "succeeded", done
    assert "amounts.csv: 28 rows" in done["result"]["summary"]
    assert "Q4 2024" in done["result"]["report_markdown"]
    assert done["result"]["findings"][0]["query"]


async def test_the_document_states_the_rule_that_is_enforced_for_descriptions(person: Any) -> None:
    app = person.http._transport.app
    document = app.openapi()
    operation = document["paths"]["/tasks/analyze"]["post"]["requestBody"]["content"]
    in_json = document["components"]["schemas"]["TaskIn"]["properties"]["description"]
    in_form = operation["multipart/form-data"]["schema"]["properties"]["description"]

    assert in_json == in_form == TaskIn.model_json_schema()["properties"]["description"]
    assert {"pattern", "minLength", "maxLength"} <= set(in_json)
