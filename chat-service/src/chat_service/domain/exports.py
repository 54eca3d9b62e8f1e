"""An organization's turns for analysis, newest day first, in pages that can be taken up again anywhere."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID
from zlib import crc32

from chat_service.domain import message_ids
from chat_service.domain.turns import KeptTurn, Owner

SESSIONS_AT_ONCE = 8
TURNS_AT_ONCE = 50
"""Their product is what may be read at one go, and read in vain at the end of a page; messages wait that long."""
TIME = timedelta(seconds=1)
"""How long one page may look for turns; a page may be short, or empty, and still have a successor."""


SHARDS = 8
"""Partitions that the sessions of an organization's day are spread over."""


def shard_of(owner: Owner, session_id: str) -> int:
    """Which of the shards of a day a session is listed in."""
    return crc32(f"{owner.user_id}\x00{session_id}".encode()) % SHARDS


@dataclass(frozen=True, slots=True)
class Place:
    """Where an export goes on: a day and shard, the session after `user_id` and `session_id`, or within it `before`."""

    day: int
    shard: int = 0
    user_id: str | None = None
    session_id: str | None = None
    before: UUID | None = None


@dataclass(frozen=True, slots=True)
class OwnedTurn:
    """A turn with whose it is."""

    owner: Owner
    session_id: str
    day: int
    turn: KeptTurn


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some turns and where the next ones are; None at the end."""

    turns: list[OwnedTurn]
    next_place: Place | None


class KeptConversations(Protocol):
    """Where turns are read by day."""

    async def active_days(self, organization_id: str, first: int, last: int) -> list[int]:
        """The days between two, both included, with turns, newest first."""
        ...

    async def active_sessions(
        self, organization_id: str, day: int, shard: int, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        """User and id of the sessions with turns on a day."""
        ...

    async def turns_of_day(
        self, owner: Owner, session_id: str, day: int, before: UUID | None, limit: int
    ) -> list[KeptTurn]:
        """The turns of a session on a day, newest first."""
        ...


class Exports:
    """Reads an organization's turns between two moments."""

    def __init__(self, conversations: KeptConversations) -> None:
        self._conversations = conversations

    async def page(
        self, organization_id: str, since: datetime, until: datetime, place: Place | None, limit: int
    ) -> ExportPage:
        """Up to `limit` turns of [since, until), from a place on."""
        give_up = time.monotonic() + TIME.total_seconds()
        found: list[OwnedTurn] = []
        newest = place.day if place else _day(until)
        days = await self._conversations.active_days(organization_id, _day(since), newest)
        here = place or (Place(days[0]) if days else None)
        while here is not None and time.monotonic() < give_up:
            read, following = await self._step(organization_id, here, days)
            wanted = [each for each in read if since <= message_ids.created_at(each.turn.message_id) < until]
            if len(found) + len(wanted) > limit:
                found += wanted[: limit - len(found)]
                return ExportPage(found, _after(found[-1]))
            found += wanted
            here = following
        return ExportPage(found, here)

    async def _step(self, organization_id: str, here: Place, days: list[int]) -> tuple[list[OwnedTurn], Place | None]:
        """The next few turns, and the place after them."""
        if here.before is not None and here.user_id is not None and here.session_id is not None:
            owner = Owner(organization_id, here.user_id)
            turns = await self._turns(owner, here.session_id, here.day, here.before)
            if len(turns) == TURNS_AT_ONCE:
                return turns, _after(turns[-1])
            return turns, replace(here, before=None)
        after = (here.user_id, here.session_id) if here.user_id is not None and here.session_id is not None else None
        sessions = await self._conversations.active_sessions(
            organization_id, here.day, here.shard, after, SESSIONS_AT_ONCE
        )
        if not sessions:
            return [], _next_shard(here, days)
        read = await asyncio.gather(
            *(self._turns(Owner(organization_id, user), session, here.day, None) for user, session in sessions)
        )
        turns = []
        for of_session in read:
            turns += of_session
            if len(of_session) == TURNS_AT_ONCE:
                return turns, _after(turns[-1])
        return turns, Place(here.day, here.shard, *sessions[-1])

    async def _turns(self, owner: Owner, session_id: str, day: int, before: UUID | None) -> list[OwnedTurn]:
        turns = await self._conversations.turns_of_day(owner, session_id, day, before, TURNS_AT_ONCE)
        return [OwnedTurn(owner, session_id, day, turn) for turn in turns]


def _next_shard(here: Place, days: list[int]) -> Place | None:
    if here.shard + 1 < SHARDS:
        return Place(here.day, here.shard + 1)
    older = next((day for day in days if day < here.day), None)
    return None if older is None else Place(older)


def _after(last: OwnedTurn) -> Place:
    shard = shard_of(last.owner, last.session_id)
    return Place(last.day, shard, last.owner.user_id, last.session_id, last.turn.message_id)


def _day(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) // message_ids.DAY
