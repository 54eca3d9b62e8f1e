"""The public API evolves by addition only: what the snapshot promises must still be there.

`python tests/contract/test_openapi_only_grows.py` writes the snapshot anew, after an addition.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

import auth_service.app
import chat_service.app
import knowledge_service.app
import notification_service.app
import task_worker.app
from auth_service.settings import AuthSettings
from chat_service.settings import ChatSettings
from gateway.app import ROUTES
from knowledge_service.settings import KnowledgeSettings
from notification_service.settings import NotificationSettings
from shared.testing import KEY
from task_worker.settings import TaskSettings

SNAPSHOT = Path(__file__).with_name("openapi.json")
SECRETS = dict.fromkeys(
    (
        "INTERNAL_IDENTITY_KEY",
        "CURSOR_KEY",
        "AUTH_PASSWORD_PEPPER",
        "AUTH_SIGNING_KEY_SECRET",
        "AUTH_POSTGRES_APP_PASSWORD",
        "TASK_POSTGRES_APP_PASSWORD",
    ),
    KEY.decode(),
)


def applications() -> Iterator[FastAPI]:
    """Every service's application, not started."""
    yield auth_service.app.make_app(AuthSettings())
    yield chat_service.app.make_app(ChatSettings())
    yield knowledge_service.app.make_app(KnowledgeSettings())
    yield notification_service.app.make_app(NotificationSettings())
    yield task_worker.app.make_app(TaskSettings())


def promises() -> dict[str, dict[str, Any]]:
    """What a client may rely on, by "METHOD path".

    Parameters and statuses by name, and for bodies and replies every field at any depth with the types it has.
    """
    found: dict[str, dict[str, Any]] = {}
    for app in applications():
        document = app.openapi()
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                found[f"{method.upper()} {path}"] = _promise(operation, document)
    return dict(sorted(found.items()))


def _promise(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    body = _schema_in(operation.get("requestBody", {}))
    return {
        "parameters": _types_of({_name(p): p.get("schema", {}) for p in parameters}, document),
        "required": sorted([_name(p) for p in parameters if p.get("required")] + sorted(_required(body, document))),
        "body": _types_of({"": body}, document),
        "statuses": sorted(operation["responses"]),
        "reply": _types_of(
            {
                status: _schema_in(reply)
                for status, reply in operation["responses"].items()
                if status.startswith("2") and _schema_in(reply)
            },
            document,
        ),
    }


def _name(parameter: dict[str, Any]) -> str:
    name = parameter["name"]
    return f"{parameter['in']} {name.lower() if parameter['in'] == 'header' else name}"


def _schema_in(part: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _types_of(roots: dict[str, dict[str, Any]], document: dict[str, Any]) -> dict[str, list[str]]:
    """The types by place: "body.tags[]" is what an item of the list `tags` is."""
    found: dict[str, set[str]] = {}
    for place, schema in roots.items():
        _walk(schema, place, document, found, ())
    return {place: sorted(types) for place, types in sorted(found.items())}


def _walk(
    schema: dict[str, Any], place: str, document: dict[str, Any], found: dict[str, set[str]], seen: tuple[str, ...]
) -> None:
    reference = schema.get("$ref", "")
    if reference in seen:
        return  # a type that holds itself
    if reference:
        schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
        seen = (*seen, reference)
    for choice in [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
        _walk(choice, place, document, found, seen)
    types = found.setdefault(place, set())
    if "type" in schema:
        types.add(schema["type"])
    types |= {f"={value}" for value in (*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ()))}
    for name, part in schema.get("properties", {}).items():
        _walk(part, f"{place}.{name}" if place else name, document, found, seen)
    if "items" in schema:
        _walk(schema["items"], f"{place}[]", document, found, seen)


def _required(schema: dict[str, Any], document: dict[str, Any]) -> set[str]:
    """The places of fields that a body must have, at any depth."""
    found: set[str] = set()

    def look(part: dict[str, Any], place: str, seen: tuple[str, ...]) -> None:
        reference = part.get("$ref", "")
        if reference in seen:
            return
        if reference:
            part, seen = document["components"]["schemas"][reference.rsplit("/", 1)[1]], (*seen, reference)
        for name in part.get("required", ()):
            found.add(f"{place}{name}")
        for name, inner in part.get("properties", {}).items():
            look(inner, f"{place}{name}.", seen)
        if "items" in part:
            look(part["items"], f"{place[:-1]}[].", seen)

    look(schema, "", ())
    return found


def broken(promised: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """What a client that relies on `promised` would miss in `kept`."""
    missing = [f"status {status}" for status in set(promised["statuses"]) - set(kept["statuses"])]
    missing += [f"requires {name} now" for name in set(kept["required"]) - set(promised["required"])]
    for kind in ("parameters", "body"):  # what may be sent: everything that was taken is taken still
        for place, types in promised[kind].items():
            gone = set(types) - set(kept[kind].get(place, ()))
            missing += [f"{kind} {place}"] if place not in kept[kind] else []
            missing += [f"{kind} {place}: {name}" for name in gone]
    for place, types in promised["reply"].items():  # what comes back: nothing is gone, nothing is of another type
        if place not in kept["reply"]:
            missing.append(f"reply {place}")
            continue
        plain = {name for name in kept["reply"][place] if not name.startswith("=")}
        missing += [f"reply {place}: {name} now" for name in plain - set(types)]
    return missing


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_nothing_that_was_promised_is_gone() -> None:
    now = promises()
    missing = []
    for operation, promised in json.loads(SNAPSHOT.read_text()).items():
        kept = now.get(operation)
        missing += [operation] if kept is None else [f"{operation}: {what}" for what in broken(promised, kept)]

    assert missing == []


@pytest.mark.parametrize(
    ("change", "is_broken"),
    [
        (lambda promise: promise["body"].update({"deep.er[].new": ["string"]}), False),
        (lambda promise: promise["body"]["deep.er[].kind"].append("=third"), False),
        (lambda promise: promise["reply"].update({"200.list[].new": ["string"]}), False),
        (lambda promise: promise["reply"]["200.list[].kind"].append("=third"), False),
        (lambda promise: promise["statuses"].append("409"), False),
        (lambda promise: promise["body"].pop("deep.er[].kind"), True),
        (lambda promise: promise["body"]["deep.er[].kind"].remove("=one"), True),
        (lambda promise: promise["body"].update({"deep": ["array"]}), True),
        (lambda promise: promise["required"].append("deep.er[].kind"), True),
        (lambda promise: promise["reply"].pop("200.list[].kind"), True),
        (lambda promise: promise["reply"]["200.list[].kind"].append("null"), True),
        (lambda promise: promise["parameters"].pop("query limit"), True),
        (lambda promise: promise["statuses"].remove("200"), True),
    ],
)
def test_growth_is_told_from_breakage_at_any_depth(
    change: Callable[[dict[str, Any]], object], *, is_broken: bool
) -> None:
    promised = {
        "parameters": {"query limit": ["integer"]},
        "required": ["deep"],
        "body": {"": ["object"], "deep": ["object"], "deep.er[].kind": ["=one", "=two", "string"]},
        "statuses": ["200"],
        "reply": {"200": ["object"], "200.list[].kind": ["=one", "string"]},
    }
    kept = copy.deepcopy(promised)

    change(kept)

    assert bool(broken(promised, kept)) == is_broken


@pytest.mark.usefixtures("environment")
def test_what_is_new_is_in_the_snapshot() -> None:
    assert json.loads(SNAPSHOT.read_text()) == promises(), "write the snapshot anew: see the top of this file"


@pytest.mark.usefixtures("environment")
def test_every_documented_operation_is_routed_and_the_other_way_round() -> None:
    documented = set(promises())
    routed = {f"{route.method} {route.path}" for route in ROUTES if route.service is not None}

    assert routed - documented == set()
    assert documented - routed == set()


if __name__ == "__main__":
    os.environ.update(SECRETS)
    SNAPSHOT.write_text(json.dumps(promises(), indent=1) + "\n")
