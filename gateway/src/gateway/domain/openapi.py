"""One OpenAPI document out of those of the services: only what is public, with names that do not clash."""

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]

PARAMETER = re.compile(r"\{[^}]*\}")
REFERENCE = "#/components/schemas/"
BEARER = "bearer"
METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class PublicOperation:
    """An operation that the gateway lets through."""

    method: str
    path: str
    service: str
    is_public: bool


def merge(
    version: str, services: Mapping[str, JsonObject], operations: Iterable[PublicOperation], own: JsonObject
) -> JsonObject:
    """The document of the whole: `services` has each service's own document, `own` the gateway's paths and schemas."""
    schemas: JsonObject = dict(own.get("schemas", {}))
    paths: JsonObject = copy.deepcopy(own.get("paths", {}))
    renamed = {name: _without_clashes(name, document, schemas) for name, document in services.items()}
    for operation in operations:
        found = _find(renamed.get(operation.service, {}), operation)
        if found is not None:
            paths.setdefault(operation.path, {})[operation.method.lower()] = _published(found, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MultiDB",
            "version": version,
            "summary": "An FAQ chatbot that answers verbatim from a knowledge base its owner controls.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": _reachable(paths, schemas),
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _find(document: JsonObject, operation: PublicOperation) -> JsonObject | None:
    """Paths are the same when they differ in the names of their parameters only."""
    shape = PARAMETER.sub("{}", operation.path)
    for path, methods in document.get("paths", {}).items():
        if PARAMETER.sub("{}", path) == shape and operation.method.lower() in methods:
            found: JsonObject = _with_parameter_names(methods[operation.method.lower()], path, operation.path)
            return found
    return None


def _with_parameter_names(described: JsonObject, path: str, public: str) -> JsonObject:
    names = dict(zip(PARAMETER.findall(path), PARAMETER.findall(public), strict=True))
    result = copy.deepcopy(described)
    for parameter in result.get("parameters", []):
        if parameter.get("in") == "path":
            parameter["name"] = names[f"{{{parameter['name']}}}"][1:-1]
    return result


def _published(described: JsonObject, operation: PublicOperation) -> JsonObject:
    described["tags"] = [operation.path.split("/")[1].removeprefix(".")]
    described["operationId"] = f"{operation.method.lower()}_{_identifier(operation.path)}"
    described["security"] = [] if operation.is_public else [{BEARER: []}]
    responses = described.setdefault("responses", {})
    for status, description in _gateway_statuses(operation, has_body="requestBody" in described).items():
        responses.setdefault(status, {"description": description, "content": PROBLEM})
    return described


PROBLEM = {"application/problem+json": {"schema": {"$ref": f"{REFERENCE}Problem"}}}


def _gateway_statuses(operation: PublicOperation, *, has_body: bool) -> dict[str, str]:
    statuses = {
        "400": "The request is not readable.",
        "429": "Too many requests: wait as long as Retry-After says.",
        "431": "The headers are too large.",
        "502": "A service gave no usable reply.",
        "503": "A part of the service is away for the moment; `capability` says which.",
        "504": "This took longer than allowed.",
    }
    if not operation.is_public:
        statuses["401"] = "A valid bearer token is needed."
    if has_body:
        statuses |= {
            "408": "The body took too long to arrive.",
            "413": "The body is too large.",
            "415": "The body has another type than asked for.",
        }
    return statuses


def _identifier(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_")


def _without_clashes(service: str, document: JsonObject, schemas: JsonObject) -> JsonObject:
    """Add a service's schemas; one whose name is taken by another schema gets the service's name in front."""
    own: JsonObject = document.get("components", {}).get("schemas", {})
    prefix = "".join(part.capitalize() for part in service.split("-"))
    names = {name: name if schemas.get(name, schema) == schema else prefix + name for name, schema in own.items()}
    result: JsonObject = _renamed({"paths": document.get("paths", {}), "schemas": own}, names)
    for name, schema in result.pop("schemas").items():
        schemas[names[name]] = schema
    return result


def _renamed(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - a JSON document
    if isinstance(node, dict):
        return {
            key: REFERENCE + names.get(value.removeprefix(REFERENCE), value.removeprefix(REFERENCE))
            if key == "$ref" and isinstance(value, str) and value.startswith(REFERENCE)
            else _renamed(value, names)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    return node


def _references(node: Any) -> set[str]:  # noqa: ANN401 - a JSON document
    if isinstance(node, dict):
        found = {
            value.removeprefix(REFERENCE)
            for key, value in node.items()
            if key == "$ref" and isinstance(value, str) and value.startswith(REFERENCE)
        }
        return found.union(*(_references(value) for value in node.values()))
    if isinstance(node, list):
        return set[str]().union(*(_references(item) for item in node))
    return set()


def _reachable(paths: JsonObject, schemas: JsonObject) -> JsonObject:
    """Only the schemas that a public path uses: a service's internal ones are nobody's business."""
    wanted: set[str] = set()
    fresh = _references(paths)
    while fresh:
        wanted |= fresh
        fresh = set[str]().union(*(_references(schemas.get(name)) for name in fresh)) - wanted
    return {name: schemas[name] for name in sorted(wanted) if name in schemas}


def as_version_3_0(node: Any) -> Any:  # noqa: ANN401 - a JSON document
    """The same document in the older dialect that the packaged documentation page can show."""
    if isinstance(node, list):
        return [as_version_3_0(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: as_version_3_0(value) for key, value in node.items()}
    if str(result.get("openapi", "")).startswith("3.1"):
        result["openapi"] = "3.0.3"
        result["info"] = {key: value for key, value in result["info"].items() if key != "summary"}
        result["info"]["license"] = {"name": result["info"]["license"]["name"]}
    if "const" in result and "properties" not in result:
        result["enum"] = [result.pop("const")]
    for choice in ("anyOf", "oneOf"):
        options = result.get(choice)
        if isinstance(options, list) and {"type": "null"} in options:
            left = [option for option in options if option != {"type": "null"}]
            result.pop(choice)
            result |= {"nullable": True, **(left[0] if len(left) == 1 else {choice: left})}
    return result
