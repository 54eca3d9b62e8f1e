"""Documents and starter articles name only what exists: files, headings, public paths."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.routes import accounts, chat, knowledge, notifications, own, tasks
from gateway.routes.table import Route, RouteTable
from shared.errors import ServiceError

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "knowledge-service/src/knowledge_service/starter/articles.jsonl"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = (accounts, chat, knowledge, notifications, own, tasks)
TABLE = RouteTable(route for module in MODULES for route in module.ROUTES if isinstance(route, Route))

LINK = re.compile(r"\[[^\]]*\]\((?!https?:)(?P<file>[^)#]*)(?:#(?P<heading>[^)]*))?\)")
CALL = re.compile(
    r"curl[^\n]*?(?:-X (?P<method>[A-Z]+) )?\"?http://localhost:8000(?P<path>/[^\s\"?`]*)"
    r"|curl(?:[^\n]*\\\n)+?\s*\"?http://localhost:8000(?P<wrapped>/[^\s\"?`]*)"
)
NAMED = re.compile(r"`(?P<method>GET|POST|PUT|PATCH|DELETE) (?P<path>/[^\s`?]*)[^`]*`")


def names_of(page: Path) -> Iterator[tuple[str, str]]:
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        yield found["file"], found["heading"] or ""


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def operations_in(text: str) -> Iterator[tuple[str, str]]:
    for found in NAMED.finditer(text):
        yield found["method"], found["path"]
    for found in CALL.finditer(text):
        path = found["path"] or found["wrapped"]
        method = re.search(r"-X ([A-Z]+)", found[0])
        yield (method[1] if method else "POST" if "-F " in found[0] else "GET"), path


def is_public(method: str, path: str) -> bool:
    concrete = re.sub(r"<[a-z_-]+>|\{[a-z_]+\}", "some-id", path).rstrip("/") or "/"
    try:
        TABLE.match(method, concrete.encode())
    except ServiceError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for file, heading in names_of(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {file}"
        assert not heading or heading in anchors(target), f"{page.name} links to #{heading}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_operation_a_page_names_is_public(page: Path) -> None:
    named = set(operations_in(page.read_text(encoding="utf-8")))

    assert [operation for operation in named if "/internal/" not in operation[1] and not is_public(*operation)] == []


def test_every_operation_a_starter_article_names_is_public() -> None:
    named = {
        (article["external_id"], *operation)
        for article in map(json.loads, STARTER.read_text(encoding="utf-8").splitlines())
        for operation in operations_in("\n".join([article["question"], article["answer"]]))
    }

    assert len(named) > 30
    assert [entry for entry in named if not is_public(*entry[1:])] == []


def test_the_data_model_names_every_table_and_no_other() -> None:
    migrations = (path.read_text(encoding="utf-8") for path in ROOT.glob("*/src/*/migrations/*") if path.is_file())
    made = {
        name
        for text in migrations
        for name in re.findall(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", text, re.MULTILINE)
        if not name.startswith("procrastinate_")
    }
    lines = (ROOT / "docs/data-model.md").read_text(encoding="utf-8").splitlines()
    described = {
        name for line in lines if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }

    assert described == made


DECISIONS = sorted((ROOT / "docs/adr").glob("0*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=[page.stem for page in DECISIONS])
def test_every_decision_names_the_check_that_holds_it(page: Path) -> None:
    _, found, held = page.read_text(encoding="utf-8").partition("\n## Held by\n")
    checks = re.findall(r"`([^`]+)`", held)

    assert found
    assert checks
    for check in checks:
        target = check.removeprefix("make ")
        exists = (ROOT / check).exists() if target == check else f"\n{target}:" in (ROOT / "Makefile").read_text()
        assert exists, f"{page.name} names {check}"


def test_the_list_of_decisions_is_whole() -> None:
    listed = re.findall(r"\((0[^)]*\.md)\)", (ROOT / "docs/adr/README.md").read_text(encoding="utf-8"))

    assert listed == [page.name for page in DECISIONS]
