"""What the gateway answers itself: health, the merged OpenAPI document, and the page that shows it."""

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Protocol

import orjson

from gateway.domain.health import Health
from gateway.domain.openapi import PublicOperation, as_version_3_0, merge
from gateway.routes.gateway import NO_CONTENT, NO_STORE, OwnPage, Page
from gateway.routes.incoming import Incoming
from gateway.routes.table import RouteTable
from gateway.routes.variants import Variants, variants
from shared.errors import NotFound
from shared.problems import PROBLEM_SCHEMA

ASSETS: Mapping[str, bytes] = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "favicon-32x32.png": b"image/png",
    "start.js": b"text/javascript; charset=utf-8",
    "home.css": b"text/css; charset=utf-8",
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
CHECKED = (b"cache-control", b"no-cache")
"""May be kept, but is asked for again each time: then the ETag spares the transfer."""
HOME_POLICY = (
    b"content-security-policy",
    (
        b"default-src 'none'; style-src 'self'; img-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
VARIES = (b"vary", b"accept")
HOME = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MultiDB</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/home.css">
</head>
<body>
<main>
<h1>MultiDB</h1>
<p>An FAQ chatbot that answers verbatim from a knowledge base its owner controls. It is running.</p>
<ul>
<li><a href="/docs">/docs</a>: every operation of the API; the document itself is
<a href="/openapi.json">/openapi.json</a></li>
<li><a href="/health">/health</a>: how the services and databases are</li>
</ul>
<h2>Log in</h2>
<p><code>POST /auth/register</code> makes an account, <code>POST /auth/login</code> gives a token for an e-mail
address and a password; send it as <code>Authorization: Bearer ...</code>. On the machine that runs it,
<code>make up</code> prints the login of a demo account.</p>
<h2>Ask from a terminal</h2>
<pre>faq login
faq ask "What is Redis?"
faq --help</pre>
</main>
</body>
</html>
"""
HOME_STYLE = b"""body{margin:0;font:1rem/1.6 system-ui,sans-serif;color:#1c1e21;background:#fff}
main{max-width:44rem;margin:3rem auto;padding:0 1.25rem}
h1{margin:0}h2{margin:2rem 0 .25rem;font-size:1.1rem}
code,pre{font:.9rem/1.5 ui-monospace,monospace;background:#f3f4f6;border-radius:4px}
code{padding:.1em .3em}pre{padding:.75rem 1rem;overflow-x:auto}
a{color:#0b57d0}
@media (prefers-color-scheme:dark){body{color:#e8eaed;background:#17191c}code,pre{background:#25282c}a{color:#8ab4f8}}
"""
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


OWN_ASSETS: Mapping[str, bytes] = {"start.js": START, "home.css": HOME_STYLE}


class HomePage:
    """What is at `/`: a page for people, the same in a few words for programs."""

    def __init__(self, version: str) -> None:
        self._words = orjson.dumps(
            {"name": "MultiDB", "version": version, "docs": "/docs", "openapi": "/openapi.json", "health": "/health"}
        )

    async def home(self, incoming: Incoming) -> Page:
        """The page for whoever names HTML among what it accepts, else JSON."""
        if b"text/html" in incoming.headers.get(b"accept", b"").lower():
            return Page(HOME, b"text/html; charset=utf-8", headers=(NO_STORE, HOME_POLICY, VARIES))
        return Page(self._words, headers=(NO_STORE, NO_CONTENT, VARIES))


class HealthSource(Protocol):
    """Who looks at the services in the background."""

    @property
    def health(self) -> Health:
        """What was seen last."""


class DocumentSource(Protocol):
    """Who collects the documents of the services in the background."""

    @property
    def version(self) -> int:
        """Another one whenever a document has changed."""

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """The documents by service, in a fixed order."""


class HealthPages:
    """Health, read from what the monitor saw last."""

    def __init__(self, monitor: HealthSource) -> None:
        self._monitor = monitor

    async def health(self, _incoming: Incoming) -> Page:
        """Always 200 while the gateway runs; the body says how the whole is."""
        return Page(orjson.dumps(self._monitor.health))

    async def live(self, _incoming: Incoming) -> Page:
        """The process answers; also for readiness, which never fails because something shared is away."""
        return Page(b'{"status":"ok"}')


class DocumentPages:
    """The merged OpenAPI document and its page, merged again only when a service's document changed."""

    def __init__(self, version: str, table: RouteTable, documents: DocumentSource) -> None:
        self._version = version
        self._documents = documents
        self._operations = [
            PublicOperation(r.method, r.path, r.service, r.access == "public") for r in table.routes if r.service
        ]
        self._merged_version = -1
        self._merged: tuple[Variants, Variants] = (variants(b"{}"), variants(b"{}"))
        self._merging = asyncio.Lock()
        self._assets: dict[str, Variants] = {}

    async def openapi(self, _incoming: Incoming) -> Page:
        """The document of the whole API."""
        return await self._document(0)

    async def docs(self, _incoming: Incoming) -> Page:
        """The documentation page; every asset comes from here, no script is inline."""
        return Page(INDEX, b"text/html; charset=utf-8", headers=(NO_STORE, PAGE_POLICY))

    async def asset(self, incoming: Incoming) -> Page:
        """A file of the page; raises NotFound for any other name."""
        name = incoming.path.rpartition(b"/")[2].decode()
        if name == "openapi.json":
            return await self._document(1)
        content_type = ASSETS.get(name)
        if content_type is None:
            raise NotFound
        if name not in self._assets:
            self._assets[name] = await asyncio.to_thread(_asset, name)
        return Page(b"", content_type, headers=(KEPT, PAGE_POLICY), variants=self._assets[name])

    async def _document(self, dialect: int) -> Page:
        """Merged and compressed in a thread: together that takes tens of milliseconds."""
        async with self._merging:
            if self._merged_version != self._documents.version:
                version = self._documents.version
                self._merged = await asyncio.to_thread(self._merge, self._documents.found)
                self._merged_version = version
        return Page(b"", headers=(CHECKED, NO_CONTENT), variants=self._merged[dialect])

    def _merge(self, found: dict[str, dict[str, Any]]) -> tuple[Variants, Variants]:
        whole = merge(self._version, found, self._operations, OWN)
        return variants(orjson.dumps(whole)), variants(orjson.dumps(as_version_3_0(whole)))


def _asset(name: str) -> Variants:
    if name in OWN_ASSETS:
        return variants(OWN_ASSETS[name])
    return variants(files(PACKAGE).joinpath(FOLDER, name).read_bytes())


def own_pages(home: HomePage, health: HealthPages, documents: DocumentPages) -> dict[str, OwnPage]:
    """The gateway's own operations by name."""
    return {
        "home": home.home,
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
        "/": {
            "get": {
                "tags": ["health"],
                "operationId": "get_home",
                "summary": "Where to begin",
                "description": "A page for browsers; the same as JSON for everybody else.",
                "security": [],
                "responses": {
                    "200": {
                        "description": "Where documentation and health are.",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Home"}},
                            "text/html": {"schema": {"type": "string"}},
                        },
                    }
                },
            }
        },
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
        },
    },
    "schemas": {
        "Problem": PROBLEM_SCHEMA,
        "Home": {
            "type": "object",
            "required": ["name", "version", "docs", "openapi", "health"],
            "properties": {name: {"type": "string"} for name in ("name", "version", "docs", "openapi", "health")},
        },
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
