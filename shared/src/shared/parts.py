"""What a service is made of, handed to its routes by type: `conversation: Part[Conversation]` in a signature.

The composition root makes one frozen dataclass of parts; `shared.service` refuses to start when a route needs one that
is not in it.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


class UnusableRoute(TypeError):
    """A route asks for what it cannot be given, or would cost a thread."""


class Parts:
    """The values of a dataclass, each found by the type that its field declares."""

    def __init__(self, made: "DataclassInstance") -> None:
        hints = get_type_hints(type(made))
        self._by_type: dict[Any, Any] = {hints[field.name]: getattr(made, field.name) for field in fields(made)}
        if len(self._by_type) < len(fields(made)):
            raise TypeError(f"{type(made).__name__} has two parts of the same type.")

    def __contains__(self, kind: object) -> bool:
        return kind in self._by_type

    def __getitem__(self, kind: type[T]) -> T:
        found: T = self._by_type[kind]
        return found


@dataclass(frozen=True, slots=True)
class PartOf:
    """The dependency behind `Part[...]`; a coroutine, since FastAPI sends plain functions through a thread."""

    kind: Any

    async def __call__(self, request: Request) -> Any:  # noqa: ANN401 - `Part` names the type
        """The part of the service that this request reached."""
        return parts_of(request)[self.kind]


if TYPE_CHECKING:
    Part = Annotated[T, "from the parts of the service"]
else:

    class Part:
        """`Part[Conversation]` in the signature of a route is a `Conversation` (made as pydantic's SkipValidation)."""

        def __class_getitem__(cls, kind: type[T]) -> Any:  # noqa: ANN401 - a form for annotations
            """The annotation with its dependency."""
            return Annotated[kind, Depends(PartOf(kind))]


def parts_of(request: Request) -> Parts:
    """The parts of the service that this request reached, for what is no dependency."""
    found: Parts = request.app.parts
    return found


def calls(endpoint: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What FastAPI calls for a route: its dependencies, theirs, and the endpoint itself."""
    if not isinstance(endpoint, PartOf):
        for parameter in inspect.signature(endpoint, eval_str=True).parameters.values():
            if get_origin(parameter.annotation) is Annotated:
                for found in get_args(parameter.annotation)[1:]:
                    if isinstance(found, Dependency) and found.dependency is not None:
                        yield from calls(found.dependency)
    yield endpoint
