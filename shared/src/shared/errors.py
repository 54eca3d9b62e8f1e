"""Expected failures: the class name is the wire code, its docstring the message, and it is raised on the other side."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request; the value itself is never repeated."""

    field: str
    code: str
    message: str


class ServiceError(Exception):
    """Something went wrong on our side."""

    status: ClassVar[int] = 500
    registry: ClassVar[dict[str, type["ServiceError"]]] = {}
    code: ClassVar[str] = "service_error"

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        ServiceError.registry[cls.code] = cls

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,  # noqa: ANN401 - extension members of RFC 9457 are any JSON
    ) -> None:
        """`retry_after` in whole seconds becomes a header; `extra` become members of the problem document."""
        self.detail = detail or (type(self).__doc__ or "").strip().split("\n")[0]
        self.errors = errors
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        self.extra = extra
        super().__init__(self.detail)


class InvalidRequest(ServiceError):
    """A value in the request is out of its rules."""

    status = 422


class InvalidCursor(ServiceError):
    """This cursor is not one of ours, or belongs to another list."""

    status = 422


class MalformedRequest(ServiceError):
    """The request body is not readable JSON."""

    status = 400


class InvalidHost(ServiceError):
    """The request needs exactly one valid Host header."""

    status = 400


class Unauthenticated(ServiceError):
    """Log in first: a valid bearer token is needed."""

    status = 401

    def __init__(self, detail: str | None = None, **extra: Any) -> None:  # noqa: ANN401 - passed on as it is
        extra.setdefault("headers", {"WWW-Authenticate": "Bearer"})
        super().__init__(detail, **extra)


class InvalidCredentials(Unauthenticated):
    """The e-mail address or the password is wrong."""


class InvalidRefreshToken(Unauthenticated):
    """This refresh token is unknown, expired or revoked: log in again."""


class Forbidden(ServiceError):
    """Your role does not allow this."""

    status = 403


class NotFound(ServiceError):
    """There is nothing here under this name."""

    status = 404


class MethodNotAllowed(ServiceError):
    """This path does not take this method."""

    status = 405


class EmailTaken(ServiceError):
    """There is an account for this e-mail address already."""

    status = 409


class IdempotencyConflict(ServiceError):
    """A request with this Idempotency-Key is still being worked on."""

    status = 409


class IdempotencyMismatch(ServiceError):
    """This Idempotency-Key was used with another body."""

    status = 422


class Conflict(ServiceError):
    """The thing was changed in the meantime, or is in a state that does not allow this."""

    status = 409


class BodyTooLarge(ServiceError):
    """The request body is larger than allowed."""

    status = 413


class UnsupportedMediaType(ServiceError):
    """Send the body as application/json."""

    status = 415


class RateLimited(ServiceError):
    """Too many requests: wait a moment."""

    status = 429


class QuotaExceeded(ServiceError):
    """Your plan's quota for this period is used up."""

    status = 429


class HeadersTooLarge(ServiceError):
    """The request headers may have at most 16 KiB and 64 fields."""

    status = 431


class InternalError(ServiceError):
    """Something went wrong on our side; the request id helps us to find it."""

    status = 500


class UpstreamFailed(ServiceError):
    """A service behind the gateway gave no usable reply."""

    status = 502


class CapabilityUnavailable(ServiceError):
    """A part of the service is away for the moment: try again shortly."""

    status = 503

    def __init__(
        self,
        detail: str | None = None,
        *,
        capability: str,
        retry_after: int | None = 2,
        **extra: Any,  # noqa: ANN401 - passed on as it is
    ) -> None:
        super().__init__(detail, retry_after=retry_after, capability=capability, **extra)

    @property
    def capability(self) -> str:
        """One of `shared.degradation.CAPABILITIES`."""
        return str(self.extra["capability"])


class ClockSkew(ServiceError):
    """The clocks of our servers differ by too much: this is our fault, not yours; try again shortly."""

    status = 503

    def __init__(self, detail: str | None = None, *, retry_after: int | None = 30, **extra: Any) -> None:  # noqa: ANN401
        super().__init__(detail, retry_after=retry_after, **extra)


class Overloaded(ServiceError):
    """Too much is going on right now: try again shortly."""

    status = 503

    def __init__(self, detail: str | None = None, *, retry_after: int | None = 1, **extra: Any) -> None:  # noqa: ANN401
        super().__init__(detail, retry_after=retry_after, **extra)


class DeadlineExceeded(ServiceError):
    """This took longer than the request was allowed to take."""

    status = 504


def from_problem(status: int, problem: JsonObject, retry_after: int | None = None) -> ServiceError:
    """The error a neighbour raised, as the same class; an unknown code becomes UpstreamFailed."""
    known = ServiceError.registry.get(str(problem.get("code", "")))
    if known is None:
        return UpstreamFailed(f"A neighbour answered {status}.")
    errors = tuple(
        FieldError(str(e.get("field", "")), str(e.get("code", "")), str(e.get("message", "")))
        for e in problem.get("errors") or []
    )
    own = {"type", "title", "status", "code", "detail", "request_id", "errors"}
    extra = {key: value for key, value in problem.items() if key not in own}
    if issubclass(known, CapabilityUnavailable):
        extra.setdefault("capability", "accounts")
    return known(str(problem.get("detail") or "") or None, errors=errors, retry_after=retry_after, **extra)
