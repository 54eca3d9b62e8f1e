"""Bodies within limits, and strict JSON: what other parsers let pass or crash on is refused here, and named."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from shared.errors import BodyTooLarge, FieldError, InvalidRequest, MalformedRequest, UnsupportedMediaType

JSON = b"application/json"
MAX_DEPTH = 32
SEVERAL = (list, set, tuple, frozenset)
ON_LOOP = 256 * 1024
"""Bytes that are parsed on the event loop, at most 5 ms; more is parsed in a thread."""
GZIP = b"\x1f\x8b"
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
BRACKET = re.compile(rb"[\[\]{}]")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedRequest("An object in the body has the same key twice.")
    return found


def _no_constant(_name: str) -> None:
    raise MalformedRequest("NaN and Infinity are not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise MalformedRequest("A number in the body is out of range.")
    return value


def _integer(text: str) -> int:
    if len(text) > 20:  # noqa: PLR2004 - 64 bits with a sign fit in 20 characters
        raise MalformedRequest("A number in the body is out of range.")
    return int(text)


def _depth(raw: bytes) -> int:
    """How deep arrays and objects nest, without recursion and without being fooled by brackets inside strings."""
    deepest = depth = 0
    for bracket in BRACKET.findall(STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


_decoder = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
)


def parse_json(raw: bytes) -> Any:  # noqa: ANN401 - JSON is any of it
    """The value of a JSON body.

    Raises MalformedRequest (400) for what is not strict JSON, nests deeper than 32, repeats a key or has a number out
    of range, and InvalidRequest (422) for text that is not valid Unicode (a lone surrogate).
    """
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise MalformedRequest(f"The body nests deeper than {MAX_DEPTH} levels.")
    if raw.startswith(GZIP):
        raise MalformedRequest("The body is compressed with gzip: send it as it is.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest("The body is not UTF-8 text, as JSON has to be.") from error
    try:
        value = _decoder.decode(text)
    except ValueError as error:
        raise MalformedRequest from error
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest("A text in the body is not valid Unicode.") from error
    return value


async def read_limited(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The body of a request.

    Raises BodyTooLarge (413) as soon as it is known to be larger than `limit`, from what was announced or from what
    came, and ClientDisconnect, which the edge counts, when the client left before its end.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def receiving(body: bytes) -> Receive:
    """A `receive` that gives a body that was read before."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def announces_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the content type says JSON."""
    for name, value in headers:
        if name == b"content-type":
            media_type = value if value == JSON else value.partition(b";")[0].strip().lower()
            return media_type == JSON or media_type.endswith(b"+json")
    return False


class _StrictRequest(Request):
    _value: Any
    _is_parsed = False

    async def json(self) -> Any:  # noqa: ANN401 - JSON is any of it
        if not self._is_parsed:
            raw = await self.body()
            self._value = parse_json(raw) if len(raw) <= ON_LOOP else await asyncio.to_thread(parse_json, raw)
            self._is_parsed = True
        return self._value


def _given_once(route: APIRoute) -> Iterator[str]:
    """The query parameters of a route that are one value: of several FastAPI would take the last."""
    for field in route.dependant.query_params:
        if not _is_many(field.field_info.annotation):
            yield field.alias


def _is_many(annotation: object) -> bool:
    kind = get_origin(annotation) or annotation
    return (isinstance(kind, type) and issubclass(kind, SEVERAL)) or any(map(_is_many, get_args(annotation)))


def _refuse_repeated(request: Request, once: frozenset[str]) -> None:
    given = Counter(name for name, _ in request.query_params.multi_items() if name in once)
    for name, times in given.items():
        if times > 1:
            message = "This query parameter is given more than once."
            raise InvalidRequest(errors=(FieldError(name, "repeated_parameter", message),))


class StrictRoute(APIRoute):
    """A route whose JSON body is read strictly, whose content type must say JSON, and whose query repeats no parameter.

    Use it as `APIRouter(route_class=StrictRoute)`; routes that take a file set `json_only=False` by being elsewhere.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the strict request."""
        handle = super().get_route_handler()
        body = self.body_field
        once = frozenset(_given_once(self))

        async def strict(request: Request) -> Response:
            _refuse_repeated(request, once)
            read = _StrictRequest(request.scope, request.receive)
            # A body that may be left out needs no type when it is.
            if body is not None and (body.field_info.is_required() or await read.body()):
                if not announces_json(request.scope["headers"]):
                    raise UnsupportedMediaType
                if await read.body():
                    await read.json()  # here, since FastAPI makes its own 400 of whatever its reading of a body raises
            return await handle(read)

        return strict
