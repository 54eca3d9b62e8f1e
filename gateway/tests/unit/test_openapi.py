"""One document out of many."""

from typing import Any

from gateway.domain.openapi import PublicOperation, as_version_3_0, merge

REF = "#/components/schemas/"


def service(path: str, schema: str, content: dict[str, Any], **more: Any) -> dict[str, Any]:
    reply = {"description": "ok", "content": {"application/json": {"schema": {"$ref": REF + schema}}}}
    return {
        "openapi": "3.1.0",
        "paths": {path: {"get": {"responses": {"200": reply}, **more}}},
        "components": {"schemas": {schema: content, "Unused": {"type": "null"}}},
    }


def test_only_public_operations_are_in_it() -> None:
    documents = {"chat-service": service("/chat/sessions", "Sessions", {"type": "object"})}
    documents["chat-service"]["paths"]["/internal/secret"] = {"get": {"responses": {}}}

    whole = merge("1", documents, [PublicOperation("GET", "/chat/sessions", "chat-service", False)], {})

    assert set(whole["paths"]) == {"/chat/sessions"}
    assert set(whole["components"]["schemas"]) == {"Sessions"}
    assert whole["paths"]["/chat/sessions"]["get"]["security"] == [{"bearer": []}]
    assert {"200", "401", "429", "503"} <= set(whole["paths"]["/chat/sessions"]["get"]["responses"])


def test_schemas_of_the_same_name_stay_apart() -> None:
    documents = {
        "auth-service": service("/a", "Page", {"type": "object", "title": "A"}),
        "chat-service": service("/b", "Page", {"type": "object", "title": "B"}),
    }
    operations = [
        PublicOperation("GET", "/a", "auth-service", True),
        PublicOperation("GET", "/b", "chat-service", True),
    ]

    whole = merge("1", documents, operations, {})

    assert whole["components"]["schemas"]["Page"]["title"] == "A"
    assert whole["components"]["schemas"]["ChatServicePage"]["title"] == "B"
    reply = whole["paths"]["/b"]["get"]["responses"]["200"]
    assert reply["content"]["application/json"]["schema"] == {"$ref": REF + "ChatServicePage"}
    assert whole["paths"]["/a"]["get"]["security"] == []


def test_a_path_is_named_as_the_gateway_names_it() -> None:
    parameter = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    documents = {"task-worker": service("/tasks/{id}/status", "Task", {"type": "object"}, parameters=[parameter])}

    whole = merge("1", documents, [PublicOperation("GET", "/tasks/{task_id}/status", "task-worker", False)], {})

    assert whole["paths"]["/tasks/{task_id}/status"]["get"]["parameters"][0]["name"] == "task_id"


def test_the_older_dialect_says_the_same() -> None:
    new = {
        "openapi": "3.1.0",
        "info": {"title": "x", "summary": "y", "license": {"name": "MIT", "identifier": "MIT"}},
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "A"},
        "b": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        "c": {"const": "x"},
    }

    assert as_version_3_0(new) == {
        "openapi": "3.0.3",
        "info": {"title": "x", "license": {"name": "MIT"}},
        "a": {"type": "string", "nullable": True, "title": "A"},
        "b": {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
        "c": {"enum": ["x"]},
    }
