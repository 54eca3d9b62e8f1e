"""Refusals that only the gateway makes."""

from shared.errors import ServiceError


class InvalidTarget(ServiceError):
    """The path or query of the request is not a plain, valid one."""

    status = 400


class RequestTimeout(ServiceError):
    """The request took too long to arrive."""

    status = 408
