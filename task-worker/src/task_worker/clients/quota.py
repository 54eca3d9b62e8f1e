"""Reservations of quota at auth-service."""

from http import HTTPStatus
from uuid import UUID

from shared.contracts import Contract
from shared.contracts.auth import Reservation, ReservationRequest, ReservationSettlement
from shared.errors import CapabilityUnavailable, ServiceError
from shared.http_client import ServiceClient
from task_worker.domain.task import Settling


class Settled(Contract):
    """Whatever auth-service says to a settlement; the status is the answer."""


class AuthQuota:
    """Quota as auth-service keeps it; every call is idempotent by the task's id."""

    def __init__(self, auth: ServiceClient) -> None:
        self._auth = auth

    async def reserve(self, organization_id: str, task_id: UUID) -> None:
        """Reserve one task; raises QuotaExceeded (429) with `resets_at` when the plan is spent.

        Whatever else keeps auth-service from answering is an outage of tasks for the person who asks.
        """
        request = ReservationRequest(organization_id=organization_id, meter="tasks", event_id=str(task_id))
        try:
            await self._auth.post("/internal/quota/reservations", request, Reservation, repeat=True)
        except ServiceError as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            raise CapabilityUnavailable(capability="tasks") from error

    async def settle(self, settling: Settling) -> None:
        """Commit or refund a reservation."""
        path = f"/internal/quota/reservations/{settling.task_id}/{settling.outcome}"
        body = ReservationSettlement(organization_id=settling.organization_id)
        await self._auth.post(path, body, Settled, repeat=True)
