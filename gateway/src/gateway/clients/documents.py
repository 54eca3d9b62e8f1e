"""Collects the OpenAPI documents of the services; one that is away keeps the copy it gave last."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import structlog

from gateway.clients.calls import OwnCalls
from shared.errors import ServiceError

log = structlog.get_logger()

EVERY = timedelta(seconds=60).total_seconds()
SOON = timedelta(seconds=2).total_seconds()
"""Until every service has given its document once."""


class Documents:
    """The services' own documents by service."""

    def __init__(self, services: Sequence[OwnCalls]) -> None:
        self._services = services
        self._found: dict[str, dict[str, Any]] = {}
        self.version = 0

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """What is known now, in a fixed order."""
        return dict(sorted(self._found.items()))

    async def collect(self) -> None:
        """Ask every service once."""
        await asyncio.gather(*(self._ask(calls) for calls in self._services))

    async def run(self) -> None:
        """Collect again and again until cancelled."""
        while True:
            await self.collect()
            await asyncio.sleep(EVERY if len(self._found) == len(self._services) else SOON)

    async def _ask(self, calls: OwnCalls) -> None:
        service = calls.upstream.service
        try:
            document = orjson.loads(await calls.get("/openapi.json"))
        except (ServiceError, ValueError) as error:
            log.info("document_unavailable", upstream=service, error=repr(error))
            return
        if self._found.get(service) != document:
            self._found[service] = document
            self.version += 1
