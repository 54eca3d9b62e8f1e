"""Answers by a cache in front of knowledge-service: in process, then Redis, then the source, one asker at a time."""

import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from chat_service.domain.epochs import Epochs, Published
from chat_service.domain.turns import Answer, CacheLevel
from shared.background import Background
from shared.single_flight import SingleFlight

BRIEFLY = timedelta(seconds=30)
"""How long anything but a whole answer is kept: the next wording of an article may answer it."""
EARLY = 0.8
"""The share of its time after which an answer in use is asked for again, before it runs out for everybody at once."""
PUNCTUATION = " \t\n?!.,;:¿¡"


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody of an organization wants to know."""

    organization_id: str
    text: str
    language: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, where it was found, and what was degraded while it was."""

    answer: Answer
    cache: CacheLevel
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything an answer depends on. The epoch in it is the invalidation: an old one is never looked up again."""

    organization_id: str
    epoch: int
    scorer: str
    language: str | None
    tags: tuple[str, ...]
    question: str


class Knowledge(Protocol):
    """What answers questions: knowledge-service."""

    async def ask(self, question: Question) -> tuple[Answer, tuple[str, ...]]:
        """The answer, and what was degraded. Raises CapabilityUnavailable("knowledge")."""
        ...


class SharedAnswers(Protocol):
    """Answers that every replica shares. Losing it costs speed only: it never raises."""

    async def get(self, key: CacheKey) -> Answer | None:
        """The answer, if it is there."""
        ...

    async def put(self, key: CacheKey, answer: Answer, ttl: timedelta) -> None:
        """Keep an answer."""
        ...


@dataclass(slots=True)
class _Entry:
    answer: Answer
    refresh_at: float
    expires_at: float


def normalise(question: str) -> str:
    """The same question however it is typed: case, width, spacing and closing punctuation do not matter."""
    text = unicodedata.normalize("NFKC", question).casefold()
    return " ".join(text.split()).strip(PUNCTUATION)


class CachedAnswers:
    """A read-through cache of two levels. An answer is kept under the epoch it says it is from, never another."""

    def __init__(
        self,
        knowledge: Knowledge,
        shared: SharedAnswers,
        epochs: Epochs,
        *,
        ttl: timedelta,
        size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._knowledge = knowledge
        self._shared = shared
        self._epochs = epochs
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._asked = SingleFlight[CacheKey, Found]()
        self._background = Background()

    async def find(self, question: Question) -> Found:
        """The answer to a question. Raises CapabilityUnavailable("knowledge") for an uncached one nobody answers."""
        organization_id = question.organization_id
        published = self._epochs.believed(organization_id) or await self._epochs.current(organization_id)
        key = _key(question, published)
        entry = self._kept.get(key)
        now = self._clock()
        if entry is None or entry.expires_at <= now:
            return await self._asked.run(key, lambda: self._look(key, question, refresh=False))
        self._kept.move_to_end(key)
        if entry.refresh_at <= now:
            self._asked.start(key, lambda: self._look(key, question, refresh=True))
        return Found(entry.answer, "process")

    async def close(self) -> None:
        """End what is still being shared."""
        await self._background.close()

    async def _look(self, key: CacheKey, question: Question, *, refresh: bool) -> Found:
        if not refresh:
            shared = await self._shared.get(key)
            if shared is not None:
                self._keep(key, shared, degraded=())
                return Found(shared, "redis")
        answer, degraded = await self._knowledge.ask(question)
        published = Published(answer.epoch, answer.scorer)
        self._epochs.learn(question.organization_id, published)
        own_key = _key(question, published)
        ttl = self._keep(own_key, answer, degraded)
        if not degraded:
            self._background.spawn(self._shared.put(own_key, answer, ttl))
        return Found(answer, "none", degraded)

    def _keep(self, key: CacheKey, answer: Answer, degraded: tuple[str, ...]) -> timedelta:
        ttl = self._ttl if answer.outcome == "answered" and not degraded else min(BRIEFLY, self._ttl)
        now, seconds = self._clock(), ttl.total_seconds()
        self._kept[key] = _Entry(answer, now + seconds * EARLY, now + seconds)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return ttl


def _key(question: Question, published: Published) -> CacheKey:
    return CacheKey(
        question.organization_id,
        published.epoch,
        published.scorer,
        question.language,
        question.tags,
        normalise(question.text),
    )
