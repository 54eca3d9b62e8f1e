"""Live counters of an organization: counted in process, added up elsewhere about twice a second."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import structlog

from chat_service.domain.answers import normalise
from chat_service.domain.turns import CacheLevel, LastRating, Outcome
from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

LATENCIES = (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 3_000, 5_000)
"""Upper bounds of the latency histogram, in milliseconds; what is above counts as the last."""
POPULAR_IN_PROCESS = 1_000
WORDING = 200
ADD_EVERY = timedelta(milliseconds=700)


@dataclass(slots=True)
class Counts:
    """Counts to add: names of the counters are `messages`, `outcome:…`, `cache:…`, `feedback:…`, `latency:…`.

    `ratings`, by message: each counts once, as the last that was given.
    """

    numbers: Counter[str] = field(default_factory=Counter)
    popular: Counter[str] = field(default_factory=Counter)
    ratings: dict[UUID, LastRating] = field(default_factory=dict)

    def rate(self, message_id: UUID, rating: LastRating) -> None:
        """Keep a rating unless a later one is kept."""
        self.ratings[message_id] = max(rating, self.ratings.get(message_id, rating))


@dataclass(frozen=True, slots=True)
class Popular:
    """A question and how often it was asked."""

    question: str
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The counters of an organization as people read them."""

    messages: int
    outcomes: dict[str, int]
    hit_rate: float
    popular: list[Popular]
    up: int
    down: int
    p50: float | None
    p95: float | None


class LiveCounters(Protocol):
    """Where counters are added up: redis-data."""

    async def add(self, counts: Mapping[str, Counts]) -> None:
        """Add the counters of some organizations. Raises CapabilityUnavailable.

        A message's rating takes the place of the one that was counted for it before, unless that is a later one.
        """
        ...

    async def read(self, organization_id: str) -> Counts:
        """The counters of one. Raises CapabilityUnavailable."""
        ...


OUTCOME_FIELD: dict[str, str] = {name: f"outcome:{name}" for name in ("answered", "clarify", "no_answer", "handoff")}
CACHE_FIELD: dict[str, str] = {name: f"cache:{name}" for name in ("process", "redis", "none")}
LATENCY_FIELD = tuple(f"latency:{index}" for index in range(len(LATENCIES) + 1))


class Analytics:
    """Counts what happens; a process that dies loses at most the last second of counters."""

    def __init__(self, counters: LiveCounters) -> None:
        self._counters = counters
        self._counts: dict[str, Counts] = {}

    def count_message(
        self, organization_id: str, question: str, outcome: Outcome, cache: CacheLevel, milliseconds: float
    ) -> None:
        """A message was answered."""
        counts = self._of(organization_id)
        numbers = counts.numbers
        numbers["messages"] += 1
        numbers[OUTCOME_FIELD[outcome]] += 1
        numbers[CACHE_FIELD[cache]] += 1
        numbers[LATENCY_FIELD[bisect_left(LATENCIES, milliseconds)]] += 1
        wording = question.strip()[:WORDING]
        if wording in counts.popular or len(counts.popular) < POPULAR_IN_PROCESS:
            counts.popular[wording] += 1

    def count_rating(self, organization_id: str, message_id: UUID, rating: LastRating) -> None:
        """A user rated an answer; told again, late or out of order, it still counts once."""
        self._of(organization_id).rate(message_id, rating)

    async def summary(self, organization_id: str) -> Summary:
        """The counters of an organization. Raises CapabilityUnavailable while they cannot be read."""
        await self.add_up()
        counts = await self._counters.read(organization_id)
        return summarise(counts)

    async def add_up(self) -> None:
        """Bring what was counted to where it is added up. Raises CapabilityUnavailable; nothing is lost by that."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        try:
            await self._counters.add(counts)
        except CapabilityUnavailable:
            for organization_id, missed in counts.items():
                kept = self._of(organization_id)
                kept.numbers.update(missed.numbers)
                kept.popular.update(missed.popular)
                for message_id, rating in missed.ratings.items():
                    kept.rate(message_id, rating)
            raise

    async def keep_adding(self) -> None:
        """Add up for ever."""
        while True:
            await asyncio.sleep(ADD_EVERY.total_seconds())
            try:
                await self.add_up()
            except CapabilityUnavailable:
                log.info("counters_wait")

    def _of(self, organization_id: str) -> Counts:
        counts = self._counts.get(organization_id)
        if counts is None:
            counts = self._counts[organization_id] = Counts()
        return counts


def summarise(counts: Counts) -> Summary:
    """What people read of the counters."""
    numbers = counts.numbers
    messages = numbers["messages"]
    hits = numbers["cache:process"] + numbers["cache:redis"]
    latencies = [numbers[name] for name in LATENCY_FIELD]
    return Summary(
        messages=messages,
        outcomes={name: numbers[label] for name, label in OUTCOME_FIELD.items()},
        hit_rate=round(hits / messages, 4) if messages else 0.0,
        popular=_merged(counts.popular),
        up=max(0, numbers["feedback:up"]),
        down=max(0, numbers["feedback:down"]),
        p50=_percentile(latencies, 0.50),
        p95=_percentile(latencies, 0.95),
    )


def _merged(popular: Counter[str], at_most: int = 10) -> list[Popular]:
    """The most asked questions; wordings that differ in case or punctuation are one, shown as most people type it."""
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for wording, count in popular.most_common():
        key = normalise(wording)
        counts[key] += count
        shown.setdefault(key, wording)
    return [Popular(shown[key], count) for key, count in counts.most_common(at_most)]


def _percentile(buckets: list[int], share: float) -> float | None:
    """The value under which `share` of the observations lie, by straight line within its bucket."""
    wanted = share * sum(buckets)
    seen = 0
    for index, count in enumerate(buckets):
        if count and seen + count >= wanted:
            low = LATENCIES[index - 1] if index else 0.0
            high = LATENCIES[min(index, len(LATENCIES) - 1)]
            return round(low + (high - low) * (wanted - seen) / count, 2)
        seen += count
    return None
