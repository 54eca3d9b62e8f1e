"""How a start is told: plain lines where nobody watches, on standard error."""

import pytest

from cli.progress import Progress

PLAN = {
    "home": "/home/ada/.multidb",
    "megabytes": 940,
    "gateway": "http://127.0.0.1:8000",
    "rows": [
        {"name": "cassandra", "kind": "engine", "url": "cql://127.0.0.1:21000"},
        {"name": "postgresql", "kind": "yours", "url": "postgresql://db:5432"},
    ],
}


def event(text: str, kind: str = "service", process: str = "gateway") -> dict[str, object]:
    return {"process": process, "event": text, "kind": kind, "seconds": 1.25}


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    printed = capsys.readouterr()
    assert printed.out == ""
    return [line.strip() for line in printed.err.splitlines()]


def test_the_plan_says_where_how_much_memory_and_whose(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.plan(PLAN)

    lines = told(capsys)
    assert lines[0] == "MultiDB in /home/ada/.multidb, about 0.9 GB of memory"
    assert lines[1].split() == ["cassandra", "cql://127.0.0.1:21000"]
    assert lines[2].endswith("postgresql://db:5432 (yours)")


def test_ready_done_and_trouble_are_told_and_the_beginning_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.event(event("started"))
        progress.event(event("ready"))
        progress.event(event("ready", "one-shot", "migrate-auth-service"))
        progress.event(event("ended with exit code 1, starting again in 0.1 s"))
        progress.event(event("fetched 10 of 100 jars", "progress", "cassandra"))

    assert told(capsys) == [
        "gateway ready after 1.2 s",
        "migrate-auth-service done after 1.2 s",
        "gateway: ended with exit code 1, starting again in 0.1 s",
        "cassandra: fetched 10 of 100 jars",
    ]


def test_nothing_in_a_text_is_taken_for_markup_and_no_line_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    long = f"[red]{'x' * 300}[/red]"
    with Progress() as progress:
        progress.doing(long)

    assert told(capsys) == [long]
