"""What the gateway answers itself: health, the merged OpenAPI document, and the page that shows it."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson

from gateway.clients.documents import Documents
from gateway.clients.monitor import Monitor
from gateway.domain.openapi import PublicOperation, as_version_3_0, merge
from gateway.routes.gateway import NO_STORE, OwnPage, Page
from gateway.routes.incoming import Incoming
from gateway.routes.table import RouteTable
from shared.errors import NotFound
from shared.problems import PROBLEM_SCHEMA

ASSETS: Mapping[str, bytes] = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "favicon-32x32.png": b"image/png",
}
PACKAGE = "swagger_ui_bundle"
FOLDER = "vendor/swagger-ui-4.15.5"
PAGE_POLICY = (
    b"content-security-policy",
    (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
KEPT = (b"cache-control", b"public, max-age=86400")
INDEX = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MultiDB API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = b"""SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
"""


class HealthPages:
    """Health, read from what the monitor saw last."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    async def health(self, _incoming: Incoming) -> Page:
        """Always 200 while the gateway runs; the body says how the whole is."""
        return Page(orjson.dumps(self._monitor.health))

    async def live(self, _incoming: Incoming) -> Page:
        """The process answers; also for readiness, which never fails because something shared is away."""
        return Page(b'{"status":"ok"}')


class DocumentPages:
    """The merged OpenAPI document and its page, merged again only when a service's document changed."""

    def __init__(self, version: str, table: RouteTable, documents: Documents) -> None:
        self._version = version
        self._documents = documents
        self._operations = [
            PublicOperation(r.method, r.path, r.service, r.access == "public") for r in table.routes if r.service
        ]
        self._merged: tuple[int, bytes, bytes] = (-1, b"", b"")

    async def openapi(self, _incoming: Incoming) -> Page:
        """The document of the whole API."""
        return Page(self._current()[1])

    async def docs(self, _incoming: Incoming) -> Page:
        """The documentation page; every asset comes from here, no script is inline."""
        return Page(INDEX, b"text/html; charset=utf-8", headers=(NO_STORE, PAGE_POLICY))

    async def asset(self, incoming: Incoming) -> Page:
        """A file of the page; raises NotFound for any other name."""
        name = incoming.path.rpartition(b"/")[2].decode()
        if name == "openapi.json":
            return Page(self._current()[2])
        if name == "start.js":
            return Page(START, b"text/javascript; charset=utf-8", headers=(KEPT, PAGE_POLICY))
        if name not in ASSETS:
            raise NotFound
        content = files(PACKAGE).joinpath(FOLDER, name).read_bytes()
        return Page(content, ASSETS[name], headers=(KEPT, PAGE_POLICY))

    def _current(self) -> tuple[int, bytes, bytes]:
        if self._merged[0] != self._documents.version:
            whole = merge(self._version, self._documents.found, self._operations, OWN)
            dialect = as_version_3_0(whole)
            self._merged = (self._documents.version, orjson.dumps(whole), orjson.dumps(dialect))
        return self._merged


def own_pages(health: HealthPages, documents: DocumentPages) -> dict[str, OwnPage]:
    """The gateway's own operations by name."""
    return {
        "health": health.health,
        "live": health.live,
        "ready": health.live,
        "openapi": documents.openapi,
        "docs": documents.docs,
        "docs_asset": documents.asset,
    }


_STATUS = {"type": "string", "enum": ["ok", "degraded", "unavailable"]}
OWN: dict[str, Any] = {
    "paths": {
        "/health": {
            "get": {
                "tags": ["health"],
                "operationId": "get_health",
                "summary": "How the whole is",
                "description": "Always 200 while the gateway runs; `status` is ok only when everything is well.",
                "security": [],
                "responses": {
                    "200": {
                        "description": "Every capability, service and database.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}},
                    }
                },
            }
        }
    },
    "schemas": {
        "Problem": PROBLEM_SCHEMA,
        "Health": {
            "type": "object",
            "required": ["status", "version", "capabilities", "services", "databases"],
            "properties": {
                "status": {"type": "string", "enum": ["ok", "degraded"]},
                "version": {"type": "string"},
                "capabilities": {"type": "object", "additionalProperties": _STATUS},
                "services": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {
                            "status": _STATUS,
                            "replicas": {"type": "integer", "description": "Replicas that answer."},
                            "known": {"type": "integer", "description": "Replicas that should."},
                        },
                    },
                },
                "databases": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"status": _STATUS}},
                },
            },
        },
    },
}
