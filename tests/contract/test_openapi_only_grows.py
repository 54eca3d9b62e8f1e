"""The public API evolves by addition only: what the snapshot promises must still be there.

`python tests/contract/test_openapi_only_grows.py` writes the snapshot anew, after an addition.
"""

import json
import os
from collections.abc import Iterator
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
    """What a client may rely on, by "METHOD path": parameters, statuses, and fields of bodies and replies."""
    found: dict[str, dict[str, Any]] = {}
    for app in applications():
        document = app.openapi()
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                found[f"{method.upper()} {path}"] = _promise(operation, document)
    return dict(sorted(found.items()))


def _promise(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return {
        "parameters": sorted(f"{p['in']} {p['name']}" for p in parameters),
        "required": sorted(
            [f"{p['in']} {p['name']}" for p in parameters if p.get("required")] + _fields(body, document, "required")
        ),
        "body": _fields(body, document, "properties"),
        "statuses": sorted(operation["responses"]),
        "reply": sorted(
            field
            for status, reply in operation["responses"].items()
            if status.startswith("2")
            for field in _fields(
                reply.get("content", {}).get("application/json", {}).get("schema", {}), document, "properties"
            )
        ),
    }


def _fields(schema: dict[str, Any], document: dict[str, Any], kind: str) -> list[str]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return sorted(schema.get(kind, []))


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
        if kept is None:
            missing.append(operation)
            continue
        missing += [
            f"{operation}: {kind} {name}"
            for kind in ("parameters", "body", "statuses", "reply")
            for name in set(promised[kind]) - set(kept[kind])
        ]
        missing += [f"{operation}: requires {name} now" for name in set(kept["required"]) - set(promised["required"])]

    assert missing == []


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
