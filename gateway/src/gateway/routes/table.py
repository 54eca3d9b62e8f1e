"""The table of public paths: what is let through, to which service, for whom, with what body and in what time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from shared.deadlines import WHOLE_REQUEST
from shared.errors import MethodNotAllowed, NotFound

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Access = Literal["user", "public"]
Work = Literal["background", "analytics", "search", "chat", "login", "always"]

MEBIBYTE = 1024 * 1024
JSON = frozenset({b"application/json"})
FILES = frozenset({b"application/json", b"multipart/form-data"})
FILE_DEADLINE = timedelta(seconds=30)
PARAMETER = re.compile(r"\{[a-z_]+\}")
VALUE = re.compile(rb"[A-Za-z0-9._:~-]{1,128}")
COLON = re.compile(rb"%3[Aa]")
"""The one escape that careful clients write inside an id; any other makes the path unknown."""


@dataclass(frozen=True, slots=True)
class Route:
    """One public operation: `service` None is the gateway itself.

    `streams`: the reply may be an event stream, whose length has no limit. `retry_key`: the gateway gives each request
    a key of its own, so that a repeat after a replica's death is the same message. `work`: the class it competes in
    when there is more to do than can be done; `always` is never refused.
    """

    method: Method
    path: str
    operation: str
    service: str | None = None
    access: Access = "user"
    media: frozenset[bytes] = JSON
    max_body: int = MEBIBYTE
    deadline: timedelta = WHOLE_REQUEST
    streams: bool = False
    retry_key: bool = False
    work: Work = "search"


@dataclass(frozen=True, slots=True)
class Match:
    """A route and the path that was matched, escapes resolved: the only path that is passed on."""

    route: Route
    path: bytes


class RouteTable:
    """Finds the route of a request. What is not in the table does not exist."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._static: dict[bytes, dict[str, Match]] = {}
        self._patterns: dict[int, list[tuple[tuple[bytes | None, ...], dict[str, Route]]]] = {}
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        if "{" not in route.path:
            path = route.path.encode()
            self._static.setdefault(path, {})[route.method] = Match(route, path)
            return
        shape = tuple(None if PARAMETER.fullmatch(part) else part.encode() for part in route.path.split("/"))
        known = self._patterns.setdefault(len(shape), [])
        methods = next((methods for other, methods in known if other == shape), None)
        if methods is None:
            methods = {}
            known.append((shape, methods))
        methods[route.method] = route

    def match(self, method: str, raw_path: bytes) -> Match:
        """The route for this method and path; HEAD is answered like GET.

        Raises NotFound, or MethodNotAllowed with the Allow header.
        """
        wanted = "GET" if method == "HEAD" else method
        static = self._static.get(raw_path)
        if static is not None:
            found = static.get(wanted)
            if found is None:
                raise _not_allowed(static)
            return found
        parts = COLON.sub(b":", raw_path).split(b"/")
        for shape, methods in self._patterns.get(len(parts), ()):
            if not _fits(shape, parts):
                continue
            route = methods.get(wanted)
            if route is None:
                raise _not_allowed(methods)
            return Match(route, b"/".join(parts))
        raise NotFound


def _fits(shape: tuple[bytes | None, ...], parts: list[bytes]) -> bool:
    for expected, part in zip(shape, parts, strict=True):
        if expected is None:
            if VALUE.fullmatch(part) is None or part in (b".", b".."):
                return False
        elif expected != part:
            return False
    return True


def _not_allowed(methods: Iterable[str]) -> MethodNotAllowed:
    allowed = sorted(methods)
    if "GET" in allowed:
        allowed.append("HEAD")
    return MethodNotAllowed(headers={"Allow": ", ".join(allowed)})
