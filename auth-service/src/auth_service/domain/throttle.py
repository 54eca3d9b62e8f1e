"""How often somebody may try: sliding windows that every replica shares."""

import hashlib
import hmac
import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from auth_service.domain.clock import Clock
from shared.errors import RateLimited

LONGEST_ADVICE = 60
"""Seconds: the most a Retry-After says, so that a client looks again soon."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `hits` of `subject` in `window`; hits are remembered for `kept`."""

    subject: str
    hits: int
    window: timedelta
    kept: timedelta

    def wait(self, hits: Sequence[datetime], now: datetime) -> timedelta:
        """How long until one more is allowed; zero when it is now."""
        recent = sorted(hit for hit in hits if hit > now - self.window)
        if len(recent) < self.hits:
            return timedelta(0)
        return recent[-self.hits] + self.window - now


QUARTER = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

WRONG_BY_ACCOUNT = Limit("wrong login of account", 10, QUARTER, QUARTER)
WRONG_BY_ADDRESS = Limit("wrong login from address", 30, QUARTER, QUARTER)
# Nobody may lock a person out of a place they work from: there the same hits close the account for a minute at most.
WRONG_BY_ACCOUNT_KNOWN = Limit("wrong login of account", 10, MINUTE, QUARTER)
WRONG_BY_ADDRESS_KNOWN = Limit("wrong login from address", 30, MINUTE, QUARTER)
EMAIL_TAKEN = Limit("e-mail taken for address", 10, HOUR, HOUR)
REGISTRATIONS = Limit("registration from address", 60, MINUTE, MINUTE)


@dataclass(frozen=True, slots=True)
class Count:
    """One limit for one subject, by its keyed hash: neither addresses nor e-mails are stored."""

    key: bytes
    limit: Limit


class ThrottleStore(Protocol):
    """Where hits are kept."""

    async def hits(self, keys: Sequence[bytes]) -> Mapping[bytes, Sequence[datetime]]:
        """The remembered hits of each key; keys without any may be missing."""
        ...

    async def take(self, counts: Sequence[Count], now: datetime) -> bool:
        """Add a hit to every count if each allows it, else to none; atomically, whoever else does the same."""
        ...


class Throttle:
    """The limits on guessing and on mass registration. Raises RateLimited (429) with a Retry-After of 1-60 s."""

    def __init__(self, store: ThrottleStore, key: bytes, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    def address_key(self, address: str) -> bytes:
        """The keyed hash of a client's address; an IPv6 customer has a whole /64 and counts as one."""
        return self._hash("address", _network(address))

    async def count_registration(self, address: str) -> None:
        """Somebody registers."""
        await self._take(self._count(REGISTRATIONS, _network(address)))

    async def count_email_taken(self, address: str) -> None:
        """Somebody learned that an e-mail address has an account."""
        await self._take(self._count(EMAIL_TAKEN, _network(address)))

    async def admit_login(self, email: str, address: str, *, is_known: bool) -> None:
        """Whether a login may be tried, or its result told, at this moment."""
        await self._look(*self._wrong(email, address, is_known=is_known))

    async def count_wrong_login(self, email: str, address: str, *, is_known: bool) -> None:
        """A wrong login. Once the limit is reached the verdict is not told any more, however many came at once."""
        await self._take(*self._wrong(email, address, is_known=is_known))

    def _wrong(self, email: str, address: str, *, is_known: bool) -> tuple[Count, Count]:
        by_account = WRONG_BY_ACCOUNT_KNOWN if is_known else WRONG_BY_ACCOUNT
        by_address = WRONG_BY_ADDRESS_KNOWN if is_known else WRONG_BY_ADDRESS
        return self._count(by_account, email), self._count(by_address, _network(address))

    async def _take(self, *counts: Count) -> None:
        if not await self._store.take(counts, self._clock()):
            await self._look(*counts)
            raise RateLimited(retry_after=1)

    async def _look(self, *counts: Count) -> None:
        hits = await self._store.hits([count.key for count in counts])
        now = self._clock()
        longest = max(count.limit.wait(hits.get(count.key, ()), now) for count in counts)
        if longest > timedelta(0):
            raise RateLimited(retry_after=min(LONGEST_ADVICE, max(1, math.ceil(longest.total_seconds()))))

    def _count(self, limit: Limit, subject: str) -> Count:
        return Count(self._hash(limit.subject, subject), limit)

    def _hash(self, kind: str, subject: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\x00{subject}".encode(), hashlib.sha256)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
