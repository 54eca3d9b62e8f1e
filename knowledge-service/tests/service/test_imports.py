"""Imports through the service's own HTTP: formats, reports, repeats."""

import asyncio
import gzip
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.principal import Principal

pytestmark = pytest.mark.engines

Replica = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

CSV = (
    "question,alternatives,answer,tags\n"
    + "".join(
        f'"What does Quarzel part {n} cost?","price of Quarzel part {n}|part {n}","Part {n} costs {n} euro.",parts\n'
        for n in range(1, 41)
    )
    + ",,no question,parts\n"
)


@pytest.fixture
async def client(replica: Replica, principal: Principal) -> AsyncIterator[httpx2.AsyncClient]:
    async with replica(principal) as client:
        yield client


async def report_of(client: httpx2.AsyncClient, sent: httpx2.Response) -> dict[str, Any]:
    assert sent.status_code == 202, sent.text
    for _ in range(400):
        report = (await client.get(sent.headers["Location"])).json()
        if report["state"] != "running":
            return report
        await asyncio.sleep(0.05)
    pytest.fail("the import did not end")


def file(content: str | bytes, name: str = "articles.csv") -> dict[str, Any]:
    return {"file": (name, content.encode() if isinstance(content, str) else content)}


async def test_a_csv_is_imported_published_and_answers(client: httpx2.AsyncClient) -> None:
    report = await report_of(client, await client.post("/knowledge/import?publish=true", files=file(CSV)))
    asked = await client.post("/knowledge/ask", json={"question": "what is the price of Quarzel part 17?"})

    assert report["state"] == "succeeded"
    assert report["rows"] == {"total": 41, "created": 40, "updated": 0, "unchanged": 0, "failed": 1}
    assert [error["row"] for error in report["errors"]] == [41]
    assert report["epoch"] == 1
    assert asked.json()["answer"]["text"] == "Part 17 costs 17 euro."


async def test_importing_the_same_again_changes_nothing(client: httpx2.AsyncClient) -> None:
    await report_of(client, await client.post("/knowledge/import", files=file(CSV)))

    again = await report_of(
        client, await client.post("/knowledge/import", files=file(CSV.replace("17 euro", "18 euro")))
    )

    assert again["rows"] == {"total": 41, "created": 0, "updated": 1, "unchanged": 39, "failed": 1}


async def test_rows_find_their_article_by_external_id_then_by_question(client: httpx2.AsyncClient) -> None:
    await report_of(
        client,
        await client.post(
            "/knowledge/import",
            json={
                "articles": [
                    {"question": "One?", "answer": "1", "external_id": "a", "tags": ["kept"]},
                    {"question": "Two?", "answer": "2"},
                ]
            },
        ),
    )

    report = await report_of(
        client,
        await client.post(
            "/knowledge/import",
            json={
                "articles": [
                    {"question": "One, renamed?", "answer": "1", "external_id": "a"},
                    {"question": " TWO? ", "answer": "2b"},
                    {"question": "Three?", "answer": "3"},
                    {"question": "Three?", "answer": "3b"},
                ]
            },
        ),
    )
    listed = (await client.get("/knowledge/articles")).json()["articles"]

    assert report["rows"] == {"total": 4, "created": 1, "updated": 3, "unchanged": 0, "failed": 0}
    assert {(each["question"], each["answer"], *each["tags"]) for each in listed} == {
        ("One, renamed?", "1", "kept"),
        (" TWO? ", "2b"),
        ("Three?", "3b"),
    }


async def test_a_dry_run_counts_and_leaves_no_trace(client: httpx2.AsyncClient) -> None:
    sent = await client.post("/knowledge/import?publish=true&dry_run=true", files=file(CSV))
    report = await report_of(client, sent)

    assert report["rows"]["created"] == 40
    assert report["epoch"] is None
    assert (await client.get("/knowledge/articles")).json()["articles"] == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[{"question": "One?", "answer": "1", "alternatives": ["uno"]}]'),
        ("a.json", '{"articles": [{"question": "One?", "answer": "1", "alternatives": ["uno"]}]}'),
        ("a.jsonl", '{"question": "One?", "answer": "1", "alternatives": ["uno"]}\n\n'),
        ("a.md", "# FAQ\n\n## One?\n\nAlternatives: uno\n\n1\n"),
        ("a.csv", "\ufeffQuestion;Alternatives;Answer\r\nOne?;uno;1\r\n"),
    ],
)
async def test_every_format_says_the_same(client: httpx2.AsyncClient, name: str, content: str) -> None:
    report = await report_of(client, await client.post("/knowledge/import", files=file(content, name)))
    listed = (await client.get("/knowledge/articles")).json()["articles"]

    assert report["rows"]["created"] == 1, report
    assert [(each["question"], each["alternatives"], each["answer"]) for each in listed] == [("One?", ["uno"], "1")]


async def test_an_unreadable_file_is_a_failed_import_that_says_why(client: httpx2.AsyncClient) -> None:
    report = await report_of(client, await client.post("/knowledge/import", files=file("a,b\n1,2\n")))

    assert (report["state"], report["errors"][0]["row"], report["errors"][0]["code"]) == ("failed", 0, "missing_header")


async def test_bad_requests_are_refused_before_anything_is_begun(client: httpx2.AsyncClient) -> None:
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    large = b'{"articles":["' + b"x" * (10 * 2**20) + b'"]}'
    statuses = [
        (await client.post("/knowledge/import", files=file("x", "a.exe"))).status_code,
        (await client.post("/knowledge/import", files={"other": ("a.csv", b"x")})).status_code,
        (await client.post("/knowledge/import", content=b"x", headers=multipart)).status_code,
        (await client.post("/knowledge/import", content=b"x", headers={"Content-Type": "text/plain"})).status_code,
        (await client.post("/knowledge/import", json={"articles": []})).status_code,
        (
            await client.post("/knowledge/import", content=large, headers={"Content-Type": "application/json"})
        ).status_code,
        (await client.get(f"/knowledge/imports/{uuid.uuid4()}")).status_code,
    ]

    assert statuses == [415, 422, 400, 415, 422, 413, 404]


async def test_a_retried_upload_with_its_key_is_the_same_import(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}

    first = await client.post("/knowledge/import", files=file(CSV), headers=key)
    second = await client.post("/knowledge/import", files=file(CSV), headers=key)
    await report_of(client, first)

    assert second.headers["Location"] == first.headers["Location"]


async def test_another_replica_shows_the_report(
    client: httpx2.AsyncClient, replica: Replica, principal: Principal, tmp_path: Path
) -> None:
    sent = await client.post("/knowledge/import", files=file(CSV))
    report = await report_of(client, sent)

    async with replica(principal, state_dir=tmp_path / "other") as other:
        assert (await other.get(sent.headers["Location"])).json() == report


async def test_an_import_cut_off_by_a_stop_says_so(replica: Replica, principal: Principal, tmp_path: Path) -> None:
    many = {"articles": [{"question": f"Question {n}?", "answer": "a"} for n in range(5_000)]}
    async with replica(principal) as stopping:
        sent = await stopping.post("/knowledge/import", json=many)
        await asyncio.sleep(0.3)

    async with replica(principal, state_dir=tmp_path / "other") as other:
        report = (await other.get(sent.headers["Location"])).json()

    assert (report["state"], report["errors"][0]["code"]) == ("failed", "interrupted")


async def test_a_large_json_body_is_read_like_a_file(client: httpx2.AsyncClient) -> None:
    many = [{"question": f"Question {n}?", "answer": "a" * 300} for n in range(1_000)]
    good = await report_of(client, await client.post("/knowledge/import", json={"articles": many}))
    broken = await client.post(
        "/knowledge/import", content=b'{"articles": [' * 30_000, headers={"Content-Type": "application/json"}
    )

    assert (good["state"], good["rows"]["created"]) == ("succeeded", 1_000)
    report = await report_of(client, broken)
    assert (report["state"], report["errors"][0]["code"]) == ("failed", "invalid_json")


async def test_a_body_that_is_compressed_is_told_so(client: httpx2.AsyncClient) -> None:
    compressed = gzip.compress(b'{"articles": []}')
    declared = await client.post(
        "/knowledge/import",
        content=compressed,
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    hidden = await client.post("/knowledge/import", content=compressed, headers={"Content-Type": "application/json"})
    report = await report_of(client, await client.post("/knowledge/import", files=file(compressed)))

    assert (declared.status_code, hidden.status_code) == (415, 400)
    assert "compressed" in declared.json()["detail"]
    assert "gzip" in hidden.json()["detail"]
    assert (report["state"], report["errors"][0]["code"]) == ("failed", "not_text")


async def test_a_type_that_is_not_taken_is_told_all_that_are(client: httpx2.AsyncClient) -> None:
    refused = await client.post("/knowledge/import", content=b"a,b", headers={"Content-Type": "text/csv"})

    assert refused.status_code == 415
    assert {"CSV", "Markdown", "multipart/form-data", "application/json."} <= set(
        refused.json()["detail"].replace(",", "").split()
    )


async def test_a_file_of_too_many_rows_is_refused_with_the_bound(
    replica: Replica, principal: Principal, tmp_path: Path
) -> None:
    async with replica(principal, state_dir=tmp_path, import_rows=40) as client:
        report = await report_of(client, await client.post("/knowledge/import", files=file(CSV)))

    assert (report["state"], report["errors"][0]["code"]) == ("failed", "too_many_rows")
    assert "40 articles" in report["errors"][0]["message"]
