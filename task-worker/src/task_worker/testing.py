"""For tests: the neighbours of task-worker as one small real server over the same contracts."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query, Request, Response

from shared import problems
from shared.contracts.auth import Reservation, ReservationRequest, ReservationSettlement
from shared.contracts.chat import Exchange, ExchangePage
from shared.contracts.knowledge import Retrieved, RetrievedArticle, RetrievedQuery, RetrieveRequest
from shared.contracts.notifications import NotificationAccepted, NotificationEvent
from shared.errors import CapabilityUnavailable, Conflict, NotFound, QuotaExceeded
from shared.identity import HEADER, IdentityVerifier
from shared.ids import new_id
from shared.testing import KEY

PAGE = 1_000
OWNERS = {
    "/internal/quota": "auth-service",
    "/internal/conversations": "chat-service",
    "/internal/knowledge": "knowledge-service",
    "/internal/notifications": "notification-service",
}


class Neighbours:
    """auth, chat, knowledge and notification in memory; `away` names those that refuse, `limit` is the task quota."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.limit = 1_000_000
        self.delay = timedelta(0)
        self.reservations: dict[tuple[str, str], str] = {}
        self.exchanges: dict[str, list[Exchange]] = {}
        self.articles: dict[str, list[RetrievedArticle]] = {}
        self.notified: Counter[str] = Counter()
        self.accepted: dict[tuple[str, str], NotificationEvent] = {}
        self._verifiers = {name: IdentityVerifier(KEY, name) for name in OWNERS.values()}

    def states(self, organization_id: str) -> Counter[str]:
        """How many reservations of an organization are reserved, committed and refunded."""
        return Counter(
            state for (organization, _), state in self.reservations.items() if organization == organization_id
        )

    def check(self, request: Request) -> None:
        """Refuse a caller without a good identity, and everybody while this neighbour is away."""
        owner = next(name for prefix, name in OWNERS.items() if request.url.path.startswith(prefix))
        self._verifiers[owner].verify(request.headers.get(HEADER.decode(), "").encode())
        if owner in self.away:
            raise CapabilityUnavailable(capability="accounts")

    def reserve(self, request: ReservationRequest) -> Reservation:
        """One unit, once per event."""
        place = (request.organization_id, request.event_id)
        used = sum(1 for (org, _), state in self.reservations.items() if org == place[0] and state != "refunded")
        resets_at = datetime.now(UTC) + timedelta(days=7)
        if place not in self.reservations:
            if used >= self.limit:
                raise QuotaExceeded(retry_after=60, resets_at=resets_at.isoformat())
            self.reservations[place] = "reserved"
        return Reservation(reservation_id=request.event_id, used=used, limit=self.limit, resets_at=resets_at)

    def settle(self, organization_id: str, event_id: str, outcome: str) -> None:
        """Commit or refund; the first one holds."""
        state = self.reservations.get((organization_id, event_id))
        wanted = {"commit": "committed", "refund": "refunded"}[outcome]
        if state is None:
            raise NotFound
        if state not in ("reserved", wanted):
            raise Conflict
        self.reservations[organization_id, event_id] = wanted

    def export(
        self, organization_id: str, since: datetime | None, until: datetime | None, cursor: str | None
    ) -> ExchangePage:
        """Exchanges, the newest first."""
        found = [
            e
            for e in sorted(self.exchanges.get(organization_id, []), key=lambda e: e.created_at, reverse=True)
            if (since is None or e.created_at >= since) and (until is None or e.created_at < until)
        ]
        start = int(cursor or 0)
        more = start + PAGE < len(found)
        return ExchangePage(exchanges=found[start : start + PAGE], next_cursor=str(start + PAGE) if more else None)

    def retrieve(self, request: RetrieveRequest) -> Retrieved:
        """Articles that share a word of four letters or more with the query, by the share of words they have."""
        articles = self.articles.get(request.organization_id, [])
        return Retrieved(
            results=[RetrievedQuery(query=q, hits=_matching(q, articles)[: request.limit]) for q in request.queries],
            as_of=datetime.now(UTC),
        )

    def notify(self, event: NotificationEvent) -> NotificationAccepted:
        """Accept an event once."""
        self.notified[event.event_id] += 1
        place = (event.user_id, event.event_id)
        duplicate = place in self.accepted
        self.accepted.setdefault(place, event)
        return NotificationAccepted(id=str(new_id()), duplicate=duplicate)


def _words(text: str) -> set[str]:
    return {word.strip("?.,!").lower() for word in text.split() if len(word.strip("?.,!")) > 3}  # noqa: PLR2004


def _matching(query: str, articles: list[RetrievedArticle]) -> list[RetrievedArticle]:
    wanted = _words(query)
    scored = [(len(wanted & _words(a.question)) / max(1, len(wanted)), a) for a in articles]
    return [a.model_copy(update={"confidence": s, "score": s}) for s, a in sorted(scored, key=lambda p: -p[0]) if s > 0]


def neighbours_app(neighbours: Neighbours) -> FastAPI:
    """The HTTP side of the twins."""
    app = FastAPI()
    problems.install(app)

    @app.post("/internal/quota/reservations", status_code=201)
    def reserve(request: Request, body: ReservationRequest) -> Reservation:
        neighbours.check(request)
        time.sleep(neighbours.delay.total_seconds())
        return neighbours.reserve(body)

    @app.post("/internal/quota/reservations/{event_id}/{outcome}")
    def settle(request: Request, event_id: str, outcome: str, body: ReservationSettlement) -> dict[str, str]:
        neighbours.check(request)
        neighbours.settle(body.organization_id, event_id, outcome)
        return {"event_id": event_id, "state": outcome}

    @app.get("/internal/conversations/export")
    def export(
        request: Request,
        organization_id: str,
        since: Annotated[datetime | None, Query()] = None,
        until: Annotated[datetime | None, Query()] = None,
        cursor: str | None = None,
    ) -> ExchangePage:
        neighbours.check(request)
        time.sleep(neighbours.delay.total_seconds())
        return neighbours.export(organization_id, since, until, cursor)

    @app.post("/internal/knowledge/retrieve")
    def retrieve(request: Request, body: RetrieveRequest) -> Retrieved:
        neighbours.check(request)
        return neighbours.retrieve(body)

    @app.post("/internal/notifications", status_code=202)
    def notify(request: Request, body: NotificationEvent) -> NotificationAccepted:
        neighbours.check(request)
        return neighbours.notify(body)

    @app.get("/health/live")
    def live() -> Response:
        return Response("ok")

    return app


@contextmanager
def running_neighbours() -> Iterator[tuple[Neighbours, str]]:
    """The twins on a free port of the loopback, in a thread, with their URL."""
    neighbours = Neighbours()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        config = uvicorn.Config(neighbours_app(neighbours), log_level="critical", lifespan="off", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield neighbours, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(5)
