"""Hot routes: declared like any other, served in front of FastAPI's layers, which cost more than many a request.

The routers in `create_app(operations=…)` are FastAPI routers, and stand in the OpenAPI document as such. In exchange
for the speed an operation has one fixed path, asks for a JSON body, the request, parts and dependencies of the request
alone, and returns a `Response`; a service with one that asks for more does not start.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from shared.bodies import announces_json, parse_json, read_limited
from shared.errors import UnsupportedMediaType
from shared.parts import PartOf, Parts, UnusableRoute
from shared.problems import invalid

MAX_BODY = 1024 * 1024

Dependency = Callable[[Request], Awaitable[Any]]


class RawResponse(Response):
    """A reply of bytes as they are, which costs a fifth of what Starlette's own response does."""

    def __init__(self, body: bytes, media_type: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = 200
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *headers]


class Operation:
    """A route as a plain ASGI endpoint; it belongs right inside `shared.edge.Edge`, which knows who asks."""

    def __init__(self, route: APIRoute, parts: Parts) -> None:
        self._route = route
        self._endpoint: Callable[..., Awaitable[Response]] = route.endpoint
        self._constant: dict[str, Any] = {}
        self._asked: list[tuple[str, Dependency]] = []
        self._guards = [self._dependency(each) for each in route.dependencies]
        self._request: str | None = None
        self._body: tuple[str, TypeAdapter[Any]] | None = None
        signature = inspect.signature(route.endpoint, eval_str=True)
        for parameter in signature.parameters.values():
            self._take(parameter, parts)
        if "{" in route.path or not _is_a(signature.return_annotation, Response):
            raise UnusableRoute(f"{route.path} has no fixed path, or returns no Response.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["route"] = self._route
        request = Request(scope, receive)
        for guard in self._guards:
            await guard(request)
        given = self._constant.copy()
        for name, dependency in self._asked:
            given[name] = await dependency(request)
        if self._request is not None:
            given[self._request] = request
        if self._body is not None:
            name, model = self._body
            given[name] = await _read(model, scope, receive)
        response = await self._endpoint(**given)
        await response(scope, receive, send)

    def _take(self, parameter: inspect.Parameter, parts: Parts) -> None:
        annotation = parameter.annotation
        if annotation is Request:
            self._request = parameter.name
        elif _is_a(annotation, BaseModel) and self._body is None:
            self._body = parameter.name, TypeAdapter(annotation)
        elif get_origin(annotation) is Annotated and isinstance(get_args(annotation)[1], Depends):
            dependency = self._dependency(get_args(annotation)[1])
            if isinstance(dependency, PartOf):
                self._constant[parameter.name] = parts[dependency.kind]
            else:
                self._asked.append((parameter.name, dependency))
        else:
            raise UnusableRoute(f"{self._route.path} asks for {parameter}, which no operation is given.")

    def _dependency(self, declared: Depends) -> Dependency:
        """What is called with the request, and nothing but the request."""
        found = declared.dependency
        if found is None or _asks(found) != [Request]:
            raise UnusableRoute(f"{self._route.path} depends on {found!r}, which asks for more than the request.")
        return found


def _asks(call: Callable[..., Any]) -> list[Any]:
    return [parameter.annotation for parameter in inspect.signature(call, eval_str=True).parameters.values()]


def _is_a(annotation: object, kind: type) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, kind)


async def _read(model: TypeAdapter[Any], scope: Scope, receive: Receive) -> Any:  # noqa: ANN401 - what the model says
    if not announces_json(scope["headers"]):
        raise UnsupportedMediaType
    try:
        return model.validate_python(parse_json(await read_limited(scope, receive, MAX_BODY)))
    except ValidationError as error:
        raise invalid(error) from error
