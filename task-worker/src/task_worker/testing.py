"""For tests: the store in memory, and the neighbours as one small real server over the same contracts."""

import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import orjson
import uvicorn
from fastapi import FastAPI, Query, Request, Response

from shared import problems
from shared.contracts.auth import Reservation, ReservationRequest, ReservationSettlement
from shared.contracts.chat import Turn, TurnPage
from shared.contracts.knowledge import Retrieved, RetrievedArticle, RetrievedQuery, RetrieveRequest
from shared.contracts.notifications import NotificationAccepted, NotificationEvent
from shared.errors import (
    CapabilityUnavailable,
    Conflict,
    IdempotencyConflict,
    IdempotencyMismatch,
    NotFound,
    QuotaExceeded,
    ServiceError,
)
from shared.identity import HEADER, IdentityVerifier
from shared.ids import new_id
from shared.principal import Principal
from shared.testing import KEY
from task_worker.domain.report import Report
from task_worker.domain.task import (
    TERMINAL,
    Attempt,
    AttemptSuperseded,
    Event,
    Failure,
    Key,
    NewTask,
    ResultNotStorable,
    Settlement,
    Settling,
    Status,
    SubmissionOverran,
    Task,
)
from task_worker.store.tasks import IN_TIME

PAGE = 1_000
LONG = timedelta(seconds=4)
OWNERS = {
    "/internal/quota": "auth-service",
    "/internal/conversations": "chat-service",
    "/internal/knowledge": "knowledge-service",
    "/internal/notifications": "notification-service",
}


class InMemoryStore:
    """Tasks, attempts, outbox and settlements in memory: keeps the promises of the stores in PostgreSQL."""

    def __init__(self) -> None:
        self.tasks: dict[UUID, Task] = {}
        self.attempts: dict[UUID, list[tuple[int, str | None]]] = {}
        self.events: dict[str, Event] = {}
        self.settlements: dict[UUID, Settling | None] = {}
        self.due: dict[object, datetime] = {}
        """When an event or a settlement may be claimed, by its id; what is not here may be at once."""
        self._owners: dict[UUID, NewTask] = {}
        self._failures: Counter[UUID] = Counter()
        self._keys: dict[tuple[str, str, str, str], tuple[bytes, UUID, bool]] = {}

    async def claim(self, new: NewTask, key: Key | None) -> UUID | None:
        """See `task_worker.domain.submission.Tasks`."""
        if key is not None:
            place = (new.organization_id, new.user_id, key.route, key.text)
            kept = self._keys.setdefault(place, (key.fingerprint, new.id, False))
            if kept[0] != key.fingerprint:
                raise IdempotencyMismatch
            if kept[1] != new.id:
                if not kept[2]:
                    raise IdempotencyConflict(retry_after=1)
                return kept[1]
        self.settlements[new.id] = Settling(new.organization_id, new.id, "refund", 0)
        self.due[new.id] = datetime.now(UTC) + IN_TIME
        return None

    async def admit(self, new: NewTask, key: Key | None) -> Task:
        """See `task_worker.domain.submission.Tasks`."""
        if new.id not in self.settlements or self._is_due(new.id):
            raise SubmissionOverran
        self.settlements[new.id] = None
        self.due.pop(new.id)
        if key is not None:
            self._keys[new.organization_id, new.user_id, key.route, key.text] = (key.fingerprint, new.id, True)
        self._owners[new.id] = new
        task = Task(new.id, new.kind, new.description, "queued", 0, "waiting for a worker", new.created_at)
        self.tasks[new.id] = task
        return task

    async def withdraw(self, new: NewTask, key: Key | None, *, maybe_reserved: bool) -> None:
        """See `task_worker.domain.submission.Tasks`."""
        if not maybe_reserved:
            self.settlements.pop(new.id)
        if key is not None:
            self._keys.pop((new.organization_id, new.user_id, key.route, key.text))

    async def find(self, principal: Principal, task_id: UUID) -> Task | None:
        """See `task_worker.domain.submission.Tasks`."""
        return self.tasks[task_id] if self._is_of(principal, task_id) else None

    async def page(self, principal: Principal, before: UUID | None, limit: int) -> Sequence[Task]:
        """See `task_worker.domain.submission.Tasks`."""
        own = sorted((id_ for id_ in self.tasks if self._is_of(principal, id_)), reverse=True)
        return [self.tasks[id_] for id_ in own if before is None or id_ < before][:limit]

    async def cancel(self, principal: Principal, task_id: UUID) -> bool:
        """See `task_worker.domain.submission.Tasks`."""
        if not self._is_of(principal, task_id) or self.tasks[task_id].status in TERMINAL:
            return False
        self._change(task_id, status="cancelled", step="cancelled", finished_at=datetime.now(UTC))
        self._end_attempt(task_id, "cancelled")
        self.settlements[task_id] = Settling(principal.organization_id, task_id, "refund", 0)
        return True

    async def begin(self, organization_id: str, task_id: UUID, worker: str) -> Attempt | None:  # noqa: ARG002 - the twin names no workers
        """See `task_worker.domain.execution.Work`."""
        new = self._owners.get(task_id)
        if new is None or new.organization_id != organization_id or self.tasks[task_id].status in TERMINAL:
            return None
        self._end_attempt(task_id, "lost")
        made = self.attempts.setdefault(task_id, [])
        made.append((len(made) + 1, None))
        self._change(task_id, status="running", step="starting")
        return Attempt(
            organization_id,
            new.user_id,
            task_id,
            number=len(made),
            kind=new.kind,
            description=new.description,
            created_at=new.created_at,
            failures=self._failures[task_id],
            lost=sum(1 for _, outcome in made if outcome == "lost"),
            upload_name=new.upload.name if new.upload else None,
        )

    async def note_progress(self, attempt: Attempt, percent: int, step: str) -> None:
        """See `task_worker.domain.execution.Work`."""
        self._fence(attempt)
        self._change(attempt.task_id, percent=percent, step=step)

    async def succeed(self, attempt: Attempt, report: Report, event: Event) -> None:
        """See `task_worker.domain.execution.Work`."""
        self._fence(attempt)
        try:
            content = orjson.dumps(report.as_json(), option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError as error:
            raise ResultNotStorable from error
        if b"\\u0000" in content or "\x00" in event.body:
            raise ResultNotStorable
        self._finish(attempt, "succeeded", "commit", event, percent=100, result=orjson.loads(content))

    async def fail(self, attempt: Attempt, failure: Failure, event: Event) -> None:
        """See `task_worker.domain.execution.Work`."""
        self._fence(attempt)
        self._finish(attempt, "failed", "refund", event, error=failure)

    async def postpone(self, attempt: Attempt, failure: Failure, *, counts: bool) -> None:
        """See `task_worker.domain.execution.Work`."""
        self._fence(attempt)
        self._failures[attempt.task_id] += int(counts)
        self._end_attempt(attempt.task_id, "failed" if counts else "postponed")
        self._change(attempt.task_id, status="queued", percent=0, step=f"waiting to try again: {failure.code}")

    async def hand_back(self, attempt: Attempt) -> None:
        """See `task_worker.domain.execution.Work`."""
        with suppress(AttemptSuperseded):
            self._fence(attempt)
            self._end_attempt(attempt.task_id, "handed_back")
            self._change(attempt.task_id, status="queued", percent=0, step="waiting for another worker")

    async def upload_of(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """The uploaded file in one piece."""
        upload = self._owners[attempt.task_id].upload
        if upload is not None:
            yield upload.content

    async def claim_events(self, limit: int, lease: timedelta) -> Sequence[Event]:
        """See `task_worker.domain.delivery.Outbox`."""
        due = [event_id for event_id in self.events if self._is_due(event_id)][:limit]
        for event_id in due:
            self.events[event_id] = replace(self.events[event_id], tries=self.events[event_id].tries + 1)
            self.due[event_id] = datetime.now(UTC) + lease
        return [self.events[event_id] for event_id in due]

    async def mark_delivered(self, event: Event) -> None:
        """See `task_worker.domain.delivery.Outbox`."""
        self.events.pop(event.event_id, None)

    async def delay_event(self, event: Event, wait: timedelta) -> None:
        """See `task_worker.domain.delivery.Outbox`."""
        if event.event_id in self.events:
            self.due[event.event_id] = datetime.now(UTC) + wait

    async def claim_settlements(self, limit: int, lease: timedelta) -> Sequence[Settling]:
        """See `task_worker.domain.delivery.Settlements`."""
        found = [settling for settling in self.settlements.values() if settling is not None]
        due = [replace(settling, tries=settling.tries + 1) for settling in found if self._is_due(settling.task_id)]
        for settling in due[:limit]:
            self.settlements[settling.task_id] = settling
            self.due[settling.task_id] = datetime.now(UTC) + lease
        return due[:limit]

    async def mark_settled(self, settling: Settling) -> None:
        """See `task_worker.domain.delivery.Settlements`."""
        self.settlements.pop(settling.task_id, None)

    async def delay_settlement(self, settling: Settling, wait: timedelta) -> None:
        """See `task_worker.domain.delivery.Settlements`."""
        if settling.task_id in self.settlements:
            self.due[settling.task_id] = datetime.now(UTC) + wait

    def _is_due(self, of: object) -> bool:
        return self.due.get(of, datetime.min.replace(tzinfo=UTC)) <= datetime.now(UTC)

    def _is_of(self, principal: Principal, task_id: UUID) -> bool:
        new = self._owners.get(task_id)
        return new is not None and (new.organization_id, new.user_id) == (
            principal.organization_id,
            principal.user_id,
        )

    def _fence(self, attempt: Attempt) -> None:
        latest = len(self.attempts[attempt.task_id])
        if attempt.number != latest or self.tasks[attempt.task_id].status != "running":
            raise AttemptSuperseded

    def _change(self, task_id: UUID, **changes: Any) -> None:  # noqa: ANN401 - fields of a task
        self.tasks[task_id] = replace(self.tasks[task_id], **changes)

    def _end_attempt(self, task_id: UUID, outcome: str) -> None:
        made = self.attempts.get(task_id, [])
        if made and made[-1][1] is None:
            made[-1] = (made[-1][0], outcome)

    def _finish(
        self,
        attempt: Attempt,
        status: Status,
        outcome: Settlement,
        event: Event,
        **changes: Any,  # noqa: ANN401 - fields of a task
    ) -> None:
        self._end_attempt(attempt.task_id, status)
        self._change(attempt.task_id, status=status, step=status, finished_at=datetime.now(UTC), **changes)
        self.settlements[attempt.task_id] = Settling(attempt.organization_id, attempt.task_id, outcome, 0)
        self.events.setdefault(event.event_id, event)


class InMemoryQuota:
    """What an organization may still spend, as auth-service keeps it: the promises of `AuthQuota` in memory.

    `error` is raised instead of an answer, `lost` makes the answer of the next reservation be lost on its way.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self.error: ServiceError | None = None
        self.is_lost = False
        self.states: dict[tuple[str, str], str] = {}

    async def reserve(self, organization_id: str, task_id: UUID) -> None:
        """See `task_worker.domain.submission.Quota`."""
        if self.error is not None:
            raise self.error
        place = (organization_id, str(task_id))
        used = sum(1 for (owner, _), state in self.states.items() if owner == organization_id and state != "refunded")
        if place not in self.states and used >= self.limit:
            raise QuotaExceeded(retry_after=60)
        self.states.setdefault(place, "reserved")
        if self.is_lost:
            raise CapabilityUnavailable(capability="tasks")

    async def settle(self, settling: Settling) -> None:
        """See `task_worker.domain.delivery.Charges`."""
        if self.error is not None:
            raise self.error
        place = (settling.organization_id, str(settling.task_id))
        wanted = {"commit": "committed", "refund": "refunded"}[settling.outcome]
        if place not in self.states:
            raise NotFound
        if self.states[place] not in ("reserved", wanted):
            raise Conflict
        self.states[place] = wanted


class InMemoryNotifications:
    """notification-service's door in memory: counts how often it was told and keeps each event once."""

    def __init__(self) -> None:
        self.error: ServiceError | None = None
        self.told: Counter[str] = Counter()
        self.kept: dict[str, Event] = {}

    async def notify(self, event: Event) -> None:
        """See `task_worker.domain.delivery.Notifications`."""
        if self.error is not None:
            raise self.error
        self.told[event.event_id] += 1
        self.kept.setdefault(event.event_id, event)


class Neighbours:
    """auth, chat, knowledge and notification in memory.

    `away` names those that refuse, `limit` is the quota of tasks, `delay` the time that a look-up takes;
    a look-up of the word `slow` takes LONG.
    """

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.limit = 1_000_000
        self.delay = timedelta(0)
        self.slow = ""
        self.reservations: dict[tuple[str, str], str] = {}
        self.turns: dict[str, list[Turn]] = {}
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
    ) -> TurnPage:
        """Turns, the newest first."""
        found = [
            e
            for e in sorted(self.turns.get(organization_id, []), key=lambda e: e.created_at, reverse=True)
            if (since is None or e.created_at >= since) and (until is None or e.created_at < until)
        ]
        start = int(cursor or 0)
        more = start + PAGE < len(found)
        return TurnPage(turns=found[start : start + PAGE], next_cursor=str(start + PAGE) if more else None)

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
    ) -> TurnPage:
        neighbours.check(request)
        time.sleep(neighbours.delay.total_seconds())
        return neighbours.export(organization_id, since, until, cursor)

    @app.post("/internal/knowledge/retrieve")
    def retrieve(request: Request, body: RetrieveRequest) -> Retrieved:
        neighbours.check(request)
        is_slow = neighbours.slow and any(neighbours.slow in query for query in body.queries)
        time.sleep((LONG if is_slow else neighbours.delay).total_seconds())
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
