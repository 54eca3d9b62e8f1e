"""Message ids: UUIDv7 outside, the same 122 bits as a time-ordered UUIDv1 inside CQL.

A UUIDv7 is 48 bits of milliseconds, 12 bits `rand_a` and 62 bits `rand_b`. The timeuuid counts 100 ns steps, so the
millisecond times 10,000 plus `rand_a` is its time and `rand_b` its last 64 bits: the mapping loses nothing, and a
retry with the same id overwrites the same row. Answers have an odd `rand_a`; the question answered is one step before.
"""

import time
from datetime import UTC, datetime
from uuid import UUID

from shared.ids import new_id

GREGORIAN = 0x01B21DD213814000
"""100 ns steps between 1582-10-15, where UUIDv1 starts to count, and 1970-01-01."""
STEPS = 10_000
RAND_A = 0xFFF
LOW_64 = (1 << 64) - 1
ODD = 1 << 64
FIRST_LOW_64 = 0x8080808080808080
"""The lowest last 64 bits of a timeuuid in CQL's order, which compares bytes as signed."""
DAY = 86_400_000
BUCKET_DAYS = 10
AHEAD = 5 * 60 * 1_000_000_000
"""Nanoseconds by which the clock that made an id may be ahead of ours."""


def new_message_id() -> UUID:
    """A fresh id for an answer."""
    return UUID(int=new_id().int | ODD)


def question_id(answer_id: UUID) -> UUID:
    """The id of the question that this answer replies to."""
    return UUID(int=answer_id.int & ~ODD)


def answer_id(message_id: UUID) -> UUID:
    """The id of the answer, given the id of either half of the turn."""
    return UUID(int=message_id.int | ODD)


def position(message_id: UUID) -> tuple[int, int, int]:
    """Where a message stands in a history: turns in CQL's order, each question right before its answer."""
    whole = message_id.int | ODD
    return whole >> 64, whole & LOW_64 ^ FIRST_LOW_64, message_id.int >> 64 & 1


def milliseconds(message_id: UUID) -> int:
    """When the message was made, in milliseconds since 1970."""
    return message_id.int >> 80


def created_at(message_id: UUID) -> datetime:
    """When the message was made."""
    return datetime.fromtimestamp(milliseconds(message_id) / 1000, UTC)


def day_of(message_id: UUID) -> int:
    """The day it was made, counted from 1970."""
    return milliseconds(message_id) // DAY


def bucket_of_day(day: int) -> int:
    """The 10-day bucket of a day: what bounds a partition of history."""
    return day // BUCKET_DAYS


def bucket_of(message_id: UUID) -> int:
    """The 10-day bucket a message is kept in."""
    return bucket_of_day(day_of(message_id))


def newest() -> UUID:
    """An id that no message can have yet, even one made where the clock is minutes ahead."""
    return UUID(int=(time.time_ns() + AHEAD) // 1_000_000 << 80)


def newest_bucket() -> int:
    """The newest bucket that a message may be in."""
    return bucket_of(newest())


def to_timeuuid(message_id: UUID) -> UUID:
    """The clustering key of a message."""
    whole = message_id.int
    return _timeuuid((whole >> 80) * STEPS + (whole >> 64 & RAND_A), whole & LOW_64)


def first_of_day(day: int) -> UUID:
    """The lowest clustering key of a day."""
    return _timeuuid(day * DAY * STEPS, FIRST_LOW_64)


def from_timeuuid(key: UUID) -> UUID:
    """The message id of a clustering key."""
    since_1970 = key.time - GREGORIAN
    milli, rand_a = divmod(since_1970, STEPS)
    return UUID(int=milli << 80 | 0x7 << 76 | rand_a << 64 | key.int & LOW_64)


def _timeuuid(since_1970: int, low: int) -> UUID:
    count = since_1970 + GREGORIAN
    low_time, mid_time, high_time = count & 0xFFFFFFFF, count >> 32 & 0xFFFF, count >> 48 & 0xFFF
    return UUID(int=low_time << 96 | mid_time << 80 | 0x1 << 76 | high_time << 64 | low)
