"""Calls between services: identity, deadline, breaker and one repeat, from a budget, for what may be repeated."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2
import orjson
import structlog
from pydantic import BaseModel

from shared import deadlines
from shared.breaker import Breaker
from shared.contracts import Contract
from shared.errors import CapabilityUnavailable, Overloaded, ServiceError, UpstreamFailed, from_problem
from shared.identity import IdentitySigner
from shared.principal import Principal
from shared.repeats import RepeatBudget
from shared.replicas import Address, Replicas

log = structlog.get_logger()

Reply = TypeVar("Reply", bound=BaseModel)

SERVICE_TO_SERVICE = timedelta(seconds=2)
CONNECT = timedelta(milliseconds=500)


class ServiceClient:
    """A client of one neighbour. A neighbour that does not answer raises CapabilityUnavailable(`capability`).

    What the neighbour refuses is raised as the neighbour's own error class. `transport` replaces the network, for
    contract tests over ASGITransport.
    """

    def __init__(
        self,
        service: str,
        urls: str,
        signer: IdentitySigner,
        *,
        capability: str,
        deadline: timedelta = SERVICE_TO_SERVICE,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.service = service
        self._signer = signer
        self._capability = capability
        self._deadline = deadline
        self._replicas = Replicas(service, urls)
        self._breaker = Breaker(service)
        self._budget = RepeatBudget()
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30)
        self._http = httpx2.AsyncClient(transport=transport, limits=limits, trust_env=False)

    async def start(self) -> None:
        """Begin to resolve the neighbour's name."""
        await self._replicas.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._replicas.close()
        await self._http.aclose()

    @property
    def is_open(self) -> bool:
        """Whether the neighbour counts as away."""
        return self._breaker.is_open

    async def get(
        self,
        path: str,
        reply: type[Reply],
        *,
        query: Mapping[str, str | int | None] | None = None,
        principal: Principal | None = None,
    ) -> Reply:
        """GET, repeated once on another replica when nothing came back."""
        kept = {key: value for key, value in (query or {}).items() if value is not None}
        return reply.model_validate_json(await self._call("GET", path, None, kept, principal, repeat=True))

    async def post(
        self,
        path: str,
        body: Contract,
        reply: type[Reply],
        *,
        principal: Principal | None = None,
        repeat: bool = False,
    ) -> Reply:
        """POST; `repeat` says that the receiver is idempotent, so it may be sent once more."""
        content = body.model_dump_json().encode()
        return reply.model_validate_json(await self._call("POST", path, content, {}, principal, repeat=repeat))

    async def _call(
        self,
        method: str,
        path: str,
        content: bytes | None,
        query: Mapping[str, Any],
        principal: Principal | None,
        *,
        repeat: bool,
    ) -> bytes:
        if not self._breaker.allows():
            raise self._away()
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        headers = {"X-Internal-Identity": self._signer.sign(self.service, principal).decode()}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if request_id:
            headers["X-Request-Id"] = request_id
        began = self._breaker.now
        try:
            response = await self._send(method, path, content, query, headers, repeat=repeat)
        except (httpx2.TransportError, TimeoutError) as error:
            self._count(error, began)
            log.warning("neighbour_away", neighbour=self.service, error=repr(error))
            raise self._away() from error
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(response)
        return response.content

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        query: Mapping[str, Any],
        headers: dict[str, str],
        *,
        repeat: bool,
    ) -> httpx2.Response:
        """One repeat at most, on another replica. It costs no budget where no connection was made: nothing was sent."""
        self._budget.earn()
        first = self._replicas.next()
        try:
            return await self._send_to(first, method, path, content, query, headers)
        except (httpx2.TransportError, TimeoutError) as error:
            self._replicas.failed(first)
            never_sent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            if not (never_sent or (repeat and self._budget.spend())):
                raise
        return await self._send_to(self._replicas.next(avoid=first), method, path, content, query, headers)

    async def _send_to(
        self,
        address: Address,
        method: str,
        path: str,
        content: bytes | None,
        query: Mapping[str, Any],
        headers: dict[str, str],
    ) -> httpx2.Response:
        left = deadlines.remaining(self._deadline)
        async with asyncio.timeout(left):
            return await self._http.request(
                method,
                address.url + path,
                content=content,
                params=dict(query),
                headers={**headers, "X-Deadline-Ms": str(int(left * 1000))},
                timeout=httpx2.Timeout(left, connect=min(left, CONNECT.total_seconds())),
            )

    def _count(self, error: Exception, began: float) -> None:
        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            self._breaker.timed_out(began)
        else:
            self._breaker.failed()

    def _away(self) -> CapabilityUnavailable:
        return CapabilityUnavailable(capability=self._capability)

    def _refusal(self, response: httpx2.Response) -> ServiceError:
        try:
            problem = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            return UpstreamFailed()
        retry_after = response.headers.get("retry-after", "")
        error = from_problem(response.status_code, problem, int(retry_after) if retry_after.isdigit() else None)
        return self._away() if isinstance(error, Overloaded) else error
