"""In-memory twins that keep the promises of the real stores and neighbours, and a service whose engines can fail."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
from fastapi import FastAPI

from chat_service.app import make_app
from chat_service.domain import message_ids, quota
from chat_service.domain.analytics import Analytics, Counts
from chat_service.domain.answers import CachedAnswers, CacheKey, Question, normalise
from chat_service.domain.conversation import Conversation, Rated, Reply, Sending
from chat_service.domain.epochs import Epochs, Published
from chat_service.domain.leases import Grant, LeaseReturn
from chat_service.domain.quota import Quota
from chat_service.domain.turns import (
    Answer,
    Citation,
    Feedback,
    HistoryPage,
    KeptTurn,
    LastRating,
    Owner,
    Persisted,
    Rating,
    Session,
    SessionPage,
    Turn,
)
from chat_service.settings import ChatSettings
from chat_service.store.deferred import AT_ONCE, DeferringConversations
from chat_service.store.recent import KEPT_TURNS
from shared.clock import HybridClock
from shared.contracts import auth, knowledge
from shared.degradation import EngineStatus
from shared.errors import CapabilityUnavailable, NotFound
from shared.ids import new_id
from shared.principal import Principal
from shared.problems import install
from shared.testing import eventually, identity_headers, somebody

LEASE = timedelta(seconds=60)
SHARE = 16
SCORER = "twin-1"


class InMemoryAccounts:
    """Leases over an exactly-once ledger: the sum of what is used and leased never passes the limit."""

    def __init__(self, limit: int | None = None, lease: timedelta = LEASE) -> None:
        self.limit = limit
        self.is_away = False
        self.ledger: dict[str, set[str]] = defaultdict(set)
        self.calls = 0
        self._lease = lease
        self._leased: dict[str, dict[str, int]] = defaultdict(dict)

    async def lease(self, organization_id: str, want: int) -> Grant:
        """Grant a share of what is left, down to single units."""
        self._must_be_there()
        self.calls += 1
        await asyncio.sleep(0)
        used = len(self.ledger[organization_id])
        granted = want
        if self.limit is not None:
            room = self.limit - used - sum(self._leased[organization_id].values())
            granted = min(want, room, max(1, room // SHARE))
        lease_id = str(new_id())
        if granted:
            self._leased[organization_id][lease_id] = granted
        now = datetime.now(UTC)
        return Grant(lease_id, granted, used, self.limit, self._lease, now + timedelta(days=3))

    async def report(self, events: Sequence[quota.UsageEvent], returns: Sequence[LeaseReturn]) -> None:
        """Record each event once; units that come back may be leased again."""
        self._must_be_there()
        await asyncio.sleep(0)
        for event in events:
            if event.event_id not in self.ledger[event.organization_id]:
                self.ledger[event.organization_id].add(event.event_id)
                self._shrink(event.organization_id, event.lease_id, 1)
        for back in returns:
            self._shrink(back.organization_id, back.lease_id, back.unburned)

    def leased(self, organization_id: str) -> int:
        """Units that are out."""
        return sum(self._leased[organization_id].values())

    def _shrink(self, organization_id: str, lease_id: str, units: int) -> None:
        leases = self._leased[organization_id]
        if lease_id in leases:
            leases[lease_id] = max(0, leases[lease_id] - units)

    def _must_be_there(self) -> None:
        if self.is_away:
            raise CapabilityUnavailable(capability="accounts")


class InMemoryUsage:
    """A usage journal that survives in the test that holds it."""

    def __init__(self) -> None:
        self.events: list[quota.UsageEvent] = []
        self._taken = 0

    def append(self, event: quota.UsageEvent) -> None:
        """Keep it."""
        self.events.append(event)

    def next_batch(self, limit: int) -> quota.UsageBatch | None:
        """The oldest events."""
        self._taken = min(limit, len(self.events))
        return quota.UsageBatch(self.events[:limit], own=True) if self.events else None

    def settled(self) -> None:
        """Forget the last batch."""
        del self.events[: self._taken]


class InMemoryKnowledge:
    """Articles by organization and question; `publish` raises the epoch."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked: list[Question] = []
        self.degraded: tuple[str, ...] = ()
        self._epochs: Counter[str] = Counter()
        self._answers: dict[str, dict[str, str]] = defaultdict(dict)

    def publish(self, organization_id: str, question: str, answer: str) -> int:
        """Make a question answered; the new epoch."""
        self._answers[organization_id][normalise(question)] = answer
        self._epochs[organization_id] += 1
        return self._epochs[organization_id]

    async def published(self, organization_id: str) -> Published:
        """The epoch that answers now."""
        self._must_be_there()
        await asyncio.sleep(0)
        return Published(self._epochs[organization_id], SCORER)

    async def ask(self, question: Question) -> tuple[Answer, tuple[str, ...]]:
        """The published answer, else no answer."""
        self._must_be_there()
        self.asked.append(question)
        await asyncio.sleep(0)
        text = self._answers[question.organization_id].get(normalise(question.text))
        citation = Citation("article-1", 1, question.text, text) if text is not None else None
        answer = Answer(
            outcome="answered" if citation else "no_answer",
            citation=citation,
            confidence=0.9 if citation else 0.1,
            suggestions=(),
            follow_ups=(),
            epoch=self._epochs[question.organization_id],
            scorer=SCORER,
            as_of=datetime.now(UTC),
        )
        return answer, self.degraded

    def _must_be_there(self) -> None:
        if self.is_away:
            raise CapabilityUnavailable(capability="knowledge")


class InMemoryAnswers:
    """The shared level of the answer cache."""

    def __init__(self) -> None:
        self.kept: dict[CacheKey, Answer] = {}

    async def get(self, key: CacheKey) -> Answer | None:
        """The answer, if it is there."""
        return self.kept.get(key)

    async def put(self, key: CacheKey, answer: Answer, ttl: timedelta) -> None:  # noqa: ARG002 - as in the real one
        """Keep it."""
        self.kept[key] = answer


class InMemoryEpochFeed:
    """Announced epochs."""

    def __init__(self) -> None:
        self.is_away = False
        self.epochs: dict[str, int] = {}

    async def announced(self, organization_ids: Sequence[str]) -> Mapping[str, int]:
        """What was announced of these."""
        if self.is_away:
            raise CapabilityUnavailable(capability="conversations")
        return {key: self.epochs[key] for key in organization_ids if key in self.epochs}


@dataclass
class _SessionTwin:
    """What a session of the twin keeps: its turns, when their ratings were written, and its entry in the list."""

    entry: Session | None = None
    turns: dict[UUID, KeptTurn] = field(default_factory=dict)
    versions: dict[UUID, int] = field(default_factory=dict)
    rated_at: dict[UUID, int] = field(default_factory=dict)
    deleted: int = 0

    def newest(self) -> int:
        """The version of the newest write, so that a deletion comes behind it."""
        return max([self.deleted, *self.versions.values(), *self.rated_at.values()])


class InMemoryTurns:
    """Conversations in memory, which several replicas with clocks of their own may share (`replica`)."""

    def __init__(self, clock: HybridClock | None = None) -> None:
        self.is_away = False
        self._clock = clock or HybridClock()
        self._sessions: dict[tuple[Owner, str], _SessionTwin] = defaultdict(_SessionTwin)

    def replica(self, clock: HybridClock) -> "InMemoryTurns":
        """The same conversations seen from a process with another clock."""
        other = InMemoryTurns(clock)
        other._sessions = self._sessions
        return other

    async def append(self, turn: Turn) -> Persisted:
        """Keep a turn, behind a deletion of its session."""
        self._must_be_there()
        kept = self._sessions[turn.owner, turn.session_id]
        if turn.written_at <= kept.deleted:
            turn = replace(turn, written_at=self._clock.after(kept.deleted))
        self._keep(turn)
        return "durable"

    async def append_late(self, turn: Turn) -> None:
        """Keep a turn that waited, unless its session was deleted after it was made."""
        self._must_be_there()
        if turn.written_at > self._sessions[turn.owner, turn.session_id].deleted:
            self._keep(turn)

    async def history(self, owner: Owner, session_id: str, limit: int, before: UUID | None) -> HistoryPage | None:
        """Messages, newest first."""
        self._must_be_there()
        turns = self._sessions[owner, session_id].turns
        if not turns:
            return None
        newest = [turns[key] for key in sorted(turns, key=message_ids.position, reverse=True)]
        messages = [
            m
            for turn in newest
            for m in turn.messages()
            if before is None or message_ids.position(m.id) < message_ids.position(before)
        ]
        return HistoryPage(messages[:limit], has_older=len(messages) > limit)

    async def sessions(self, owner: Owner, limit: int, before: UUID | None) -> SessionPage:
        """Sessions, newest first."""
        self._must_be_there()
        found = [kept.entry for (whose, _), kept in self._sessions.items() if whose == owner and kept.entry]
        found = [entry for entry in found if before is None or entry.started < before]
        found.sort(key=lambda session: session.started, reverse=True)
        return SessionPage(found[:limit], has_older=len(found) > limit)

    async def delete_session(self, owner: Owner, session_id: str) -> bool:
        """Remove a session."""
        self._must_be_there()
        kept = self._sessions[owner, session_id]
        if kept.entry is None:
            return False
        self._sessions[owner, session_id] = _SessionTwin(deleted=self._clock.after(kept.newest()))
        return True

    async def rate(self, feedback: Feedback) -> Rated | None:
        """Keep a rating, behind the one it replaces."""
        kept = self._sessions[feedback.owner, feedback.session_id]
        return self._rate(feedback, self._clock.after(kept.rated_at.get(feedback.message_id)))

    async def rate_late(self, feedback: Feedback) -> Rated | None:
        """Keep a rating that waited, unless a later one is there."""
        return self._rate(feedback, feedback.written_at)

    def _keep(self, turn: Turn) -> None:
        kept = self._sessions[turn.owner, turn.session_id]
        before = kept.turns.get(turn.message_id)
        kept.turns[turn.message_id] = _kept_turn(turn, before.rating if before else None)
        kept.versions[turn.message_id] = turn.written_at
        kept.entry = kept.entry or Session(turn.session_id, turn.title, turn.message_id)

    def _rate(self, feedback: Feedback, at: int) -> Rated | None:
        self._must_be_there()
        kept = self._sessions[feedback.owner, feedback.session_id]
        turn = kept.turns.get(feedback.message_id)
        if turn is None:
            return None
        rated_at = kept.rated_at.get(feedback.message_id)
        if rated_at is not None and at <= rated_at:
            return Rated("durable", LastRating(rated_at, turn.rating or feedback.rating))
        kept.turns[feedback.message_id] = replace(turn, rating=feedback.rating)
        kept.rated_at[feedback.message_id] = at
        return Rated("durable", LastRating(at, feedback.rating))

    def _must_be_there(self) -> None:
        if self.is_away:
            raise CapabilityUnavailable(capability="conversations")


class InMemoryQueue:
    """A queue of records that wait, in memory."""

    def __init__(self) -> None:
        self.is_away = False
        self.waiting: list[Turn | Feedback] = []

    async def put(self, record: Turn | Feedback) -> None:
        """Keep a record."""
        if self.is_away:
            raise CapabilityUnavailable(capability="conversations")
        self.waiting.append(record)

    async def drain(self, write: Callable[[Turn | Feedback], Awaitable[None]]) -> int:
        """Write the oldest records and forget them."""
        if self.is_away:
            raise CapabilityUnavailable(capability="conversations")
        written = 0
        while self.waiting and written < AT_ONCE:
            await write(self.waiting[0])
            del self.waiting[0]
            written += 1
        return written


class InMemoryRecent:
    """The last turns of sessions, in memory."""

    def __init__(self) -> None:
        self._turns: dict[tuple[Owner, str], dict[UUID, Turn]] = defaultdict(dict)

    def add_soon(self, turn: Turn) -> None:
        """Add a turn; soon is now."""
        kept = self._turns[turn.owner, turn.session_id]
        kept[turn.message_id] = turn
        for oldest in sorted(kept)[:-KEPT_TURNS]:
            del kept[oldest]

    async def add_now(self, turn: Turn) -> None:
        """Add a turn."""
        self.add_soon(turn)

    async def turns(self, owner: Owner, session_id: str) -> list[KeptTurn]:
        """What is known of a session, newest first."""
        kept = self._turns[owner, session_id]
        return [_kept_turn(kept[key], None) for key in sorted(kept, reverse=True)]

    async def forget(self, owner: Owner, session_id: str) -> None:
        """The session was deleted."""
        self._turns.pop((owner, session_id), None)


class InMemoryDeletions:
    """Deletions that were announced."""

    def __init__(self) -> None:
        self.announced: list[tuple[Owner, str]] = []

    async def deleted(self, owner: Owner, session_id: str) -> None:
        """Remember it."""
        self.announced.append((owner, session_id))


def _kept_turn(turn: Turn, rating: Rating | None) -> KeptTurn:
    return KeptTurn(turn.message_id, turn.question, turn.reply, turn.outcome, turn.confidence, turn.article_id, rating)


class InMemoryCounters:
    """Counters added up in memory."""

    def __init__(self) -> None:
        self.is_away = False
        self._counts: dict[str, Counts] = defaultdict(Counts)

    async def add(self, counts: Mapping[str, Counts]) -> None:
        """Add them."""
        if self.is_away:
            raise CapabilityUnavailable(capability="conversations")
        for organization_id, added in counts.items():
            self._counts[organization_id].numbers.update(added.numbers)
            self._counts[organization_id].popular.update(added.popular)
            for message_id, rating in added.ratings.items():
                self._counts[organization_id].rate(message_id, rating)

    async def read(self, organization_id: str) -> Counts:
        """The counters of one organization."""
        if self.is_away:
            raise CapabilityUnavailable(capability="conversations")
        kept = self._counts[organization_id]
        rated = Counter(f"feedback:{last.rating}" for last in kept.ratings.values())
        return Counts(kept.numbers + rated, kept.popular)


@dataclass
class Clock:
    """A clock that a test moves."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        """The time."""
        return self.now


class Neighbours:
    """auth-service and knowledge-service over HTTP, as far as chat-service knows them."""

    def __init__(self) -> None:
        self.accounts = InMemoryAccounts(limit=1_000)
        self.knowledge = InMemoryKnowledge()

    def transports(self) -> dict[str, httpx2.AsyncBaseTransport]:
        """What stands in for the network."""
        return {
            "auth-service": _Transport(_auth(self.accounts), lambda: self.accounts.is_away),
            "knowledge-service": _Transport(_knowledge(self.knowledge), lambda: self.knowledge.is_away),
        }


def neighbour_apps(neighbours: Neighbours) -> dict[str, FastAPI]:
    """The neighbours as applications that a server may run."""
    return {"auth-service": _auth(neighbours.accounts), "knowledge-service": _knowledge(neighbours.knowledge)}


class _Transport(httpx2.ASGITransport):
    """A network that can be cut."""

    def __init__(self, app: FastAPI, is_cut: Callable[[], bool]) -> None:
        super().__init__(app)
        self._is_cut = is_cut

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass the request on, or fail as a cut network does."""
        """Pass the request on, or fail as a cut network does."""
        if self._is_cut():
            raise httpx2.ConnectError("cut by the test", request=request)
        return await super().handle_async_request(request)


def _auth(accounts: InMemoryAccounts) -> FastAPI:
    app = FastAPI()
    install(app)

    @app.post("/internal/quota/leases")
    async def lease(wish: auth.LeaseRequest) -> auth.Lease:
        grant = await accounts.lease(wish.organization_id, wish.want)
        return auth.Lease(
            lease_id=grant.lease_id,
            granted=grant.granted,
            used=grant.used,
            limit=grant.limit,
            expires_at=datetime.now(UTC) + grant.lifetime,
            lifetime_seconds=grant.lifetime.total_seconds(),
            resets_at=grant.resets_at,
            plan="free",
        )

    @app.post("/internal/quota/usage")
    async def usage(report: auth.UsageReport) -> auth.UsageRecorded:
        if any(event.organization_id == "gone" for event in report.events):
            raise NotFound
        events = [
            quota.UsageEvent(e.organization_id, e.event_id, e.lease_id or "", e.occurred_at) for e in report.events
        ]
        returns = [LeaseReturn(r.organization_id, r.lease_id, r.unburned) for r in report.returns]
        await accounts.report(events, returns)
        return auth.UsageRecorded(recorded=len(events), duplicates=0)

    return app


def _knowledge(known: InMemoryKnowledge) -> FastAPI:
    app = FastAPI()
    install(app)

    @app.post("/internal/knowledge/ask")
    async def ask(request: knowledge.AskRequest) -> knowledge.KnowledgeAnswer:
        question = Question(request.organization_id, request.question, request.language, tuple(request.tags))
        answer, degraded = await known.ask(question)
        cited = answer.citation
        return knowledge.KnowledgeAnswer(
            outcome=answer.outcome,
            answer=knowledge.CitedAnswer(
                article_id=cited.article_id, version=cited.version, question=cited.question, text=cited.text
            )
            if cited
            else None,
            confidence=answer.confidence,
            suggestions=[],
            epoch=answer.epoch,
            scorer=answer.scorer,
            as_of=answer.as_of,
            degraded=list(degraded),
        )

    @app.get("/internal/knowledge/epoch")
    async def epoch(organization_id: str) -> knowledge.EpochState:
        published = await known.published(organization_id)
        return knowledge.EpochState(epoch=published.epoch, scorer=published.scorer, as_of=datetime.now(UTC))

    return app


class Conversing:
    """A conversation over twins: what a test takes away, moves or looks at is a member."""

    def __init__(self, limit: int | None = 1_000) -> None:
        self.accounts, self.usage = InMemoryAccounts(limit), InMemoryUsage()
        self.knowledge, self.answers, self.feed = InMemoryKnowledge(), InMemoryAnswers(), InMemoryEpochFeed()
        self.stored, self.queue, self.recent = InMemoryTurns(), InMemoryQueue(), InMemoryRecent()
        self.deletions, self.counters = InMemoryDeletions(), InMemoryCounters()
        self.clock = Clock()
        self.quota = Quota(self.accounts, self.usage, self.clock)
        self.analytics = Analytics(self.counters)
        self.turns = DeferringConversations(
            self.stored, (self.queue,), self.recent, self.deletions, self.analytics.count_rating
        )
        epochs = Epochs(self.feed, self.knowledge, self.clock)
        found = CachedAnswers(self.knowledge, self.answers, epochs, ttl=timedelta(hours=1), size=100, clock=self.clock)
        self.conversation = Conversation(self.turns, found, self.quota, self.analytics, stamp=HybridClock().now)

    async def send(
        self, who: Principal, text: str, session_id: str | None = "session", message_id: UUID | None = None
    ) -> Reply:
        """Send a message."""
        sending = Sending(message_id or message_ids.new_message_id(), text, session_id, None, ())
        return await self.conversation.send_message(who, sending)

    async def questions(self, who: Principal, session_id: str = "session") -> list[str]:
        """What is kept of a session, oldest first; nothing where there is none."""
        owner = Owner(who.organization_id, who.user_id)
        page = await self.stored.history(owner, session_id, 100, None)
        return [m.text for m in reversed(page.messages) if m.role == "user"] if page else []


def a_turn(
    owner: Owner,
    session_id: str = "session",
    question: str = "What is Redis?",
    reply: str = "A store.",
    made: datetime | None = None,
) -> Turn:
    """A turn as it might have been, now or at another time."""
    message_id = message_ids.new_message_id()
    if made is not None:
        milli = int(made.timestamp() * 1000)
        message_id = UUID(int=milli << 80 | message_id.int & (1 << 80) - 1)
    return Turn(
        owner=owner,
        session_id=session_id,
        message_id=message_id,
        question=question,
        reply=reply,
        outcome="answered",
        confidence=0.9,
        article_id="article-1",
        article_version=1,
        epoch=1,
        scorer=SCORER,
        retention=timedelta(days=90),
        written_at=int(made.timestamp() * 1_000_000) if made else time.time_ns() // 1000,
    )


class Faucet:
    """A TCP proxy in front of an engine: `close` makes it refuse like a stopped server, `freeze` like a frozen one."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self.port = 0

    async def open(self) -> None:
        """Let everything flow."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse new connections and drop the others."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def freeze(self) -> None:
        """Accept connections, and let nothing through."""
        self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None:  # accepted, and closed before this could begin
            writer.close()
            return
        self._pipes.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pipes.discard(task)
            writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        finally:
            with suppress(OSError, RuntimeError):
                writer.close()


@dataclass
class Running:
    """A chat-service at work."""

    app: Any
    client: httpx2.AsyncClient
    neighbours: Neighbours
    cql: Faucet
    cache: Faucet
    data: Faucet
    settings: ChatSettings

    async def send(
        self, who: Principal, message: str, session_id: str | None = None, **headers: str
    ) -> httpx2.Response:
        """Send a message; `idempotency_key="k"` becomes a header."""
        body = {"message": message} | ({"session_id": session_id} if session_id else {})
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/chat/message", json=body, headers=identity_headers("chat-service", who) | named)

    async def get(self, who: Principal, path: str) -> httpx2.Response:
        """Read a path as somebody."""
        return await self.client.get(path, headers=identity_headers("chat-service", who))

    async def texts(self, who: Principal, session_id: str) -> list[str]:
        """The texts of a session, oldest first; empty when there is none."""
        page = (await self.get(who, f"/chat/history/{session_id}?limit=100")).json()
        return [message["text"] for message in page.get("messages", [])]

    async def knows(self, status: EngineStatus, *engines: str) -> None:
        """Wait until the service has noticed that these databases are away, or back."""

        async def has_noticed() -> bool:
            health = await self.client.get("/internal/health", headers=identity_headers("chat-service", None))
            return {health.json()["databases"][engine] for engine in engines} == {status}

        await eventually(has_noticed)

    def newcomer(self, plan: str = "free") -> Principal:
        """Somebody of a new organization that knows about Redis."""
        who = somebody(plan=plan)
        self.neighbours.knowledge.publish(who.organization_id, "What is Redis?", "A store in memory.")
        return who


@asynccontextmanager
async def running_chat(
    settings: ChatSettings, state_dir: Path, neighbours: Neighbours | None = None
) -> AsyncIterator[Running]:
    """A chat-service whose engines are behind faucets."""
    near = neighbours or Neighbours()
    cql = Faucet(settings.contact_points[0], settings.scylla_port)
    cache, data = (Faucet(str(urlsplit(url).hostname), urlsplit(url).port or 0) for url in _urls(settings))
    for faucet in (cql, cache, data):
        await faucet.open()
    behind = settings.model_copy(
        update={
            "scylla_port": cql.port,
            "redis_cache_url": _through(settings.cache_url, cache),
            "redis_data_url": _through(settings.data_url, data),
            "state_dir": state_dir,
        }
    )
    app = make_app(behind, near.transports())
    try:
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://chat", timeout=10) as client,
        ):
            chat = Running(app, client, near, cql, cache, data, behind)
            await chat.knows("ok", "cql", "redis_cache", "redis_data")
            yield chat
    finally:
        for faucet in (cql, cache, data):
            await faucet.open()
            await faucet.close()


def _urls(settings: ChatSettings) -> tuple[str, str]:
    return settings.cache_url, settings.data_url


def _through(url: str, faucet: Faucet) -> str:
    return f"redis://127.0.0.1:{faucet.port}{urlsplit(url).path}"
