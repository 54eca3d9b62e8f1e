"""Passwords: which ones are accepted, and how they are kept."""

import asyncio
import gzip
import hashlib
import hmac
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from importlib.resources import files

import bcrypt

from auth_service.domain.guessing import FEWEST_GUESSES, bare, guesses
from auth_service.domain.hashing import HashingPool
from shared.errors import FieldError, InvalidRequest

COST = 10
"""About 60 ms of one core (performance.md); 12 would be 250 ms."""

COMMON = "This password is one of the most common ones and would be guessed: choose another."
WEAK = (
    "This password would be guessed soon, although it is long enough: it is made of common words, names, dates, "
    "repeats or keyboard rows. Take three or four words that have nothing to do with one another or with you."
)

SCHEME = "bcrypt-hmac-sha384"
"""Stored in front of each hash, so that another scheme can follow."""

DECOY = b"$2b$10$rgQ8K337pM/fDk4djYMX8ex4b.0xEnQGvfMoG4jNNTzifX0v7t.lW"
"""A well-formed hash that no password has: an unknown account costs the same work as a known one."""


def common_passwords() -> frozenset[str]:
    """The shipped list of passwords that are guessed first, in lower case, all of 8 or more characters."""
    packed = (files("auth_service") / "common_passwords" / "common.txt.gz").read_bytes()
    return frozenset(gzip.decompress(packed).decode().split("\n")) - {""}


class Passwords:
    """Hashes and checks passwords under one pepper."""

    def __init__(self, pepper: bytes, pool: HashingPool, common: frozenset[str], cost: int = COST) -> None:
        self._pepper = pepper
        self._pool = pool
        self._common = common
        self._cost = cost

    async def refuse_weak(self, password: str, personal: Sequence[str] = ()) -> None:
        """Raises InvalidRequest (422) for a password that is on the list, or that would be guessed soon.

        `personal` is what a guesser knows of the person: the parts of their address, their names.
        """
        normalised = _normalised(password)
        if normalised.casefold() in self._common:
            raise InvalidRequest(errors=(FieldError("password", "common_password", COMMON),))
        left = bare(normalised, personal)
        is_dressed = not left or left in self._common
        if is_dressed or await asyncio.to_thread(guesses, normalised, personal) < FEWEST_GUESSES:
            raise InvalidRequest(errors=(FieldError("password", "weak_password", WEAK),))

    async def hash(self, password: str) -> str:
        """What to store for a password. Raises Overloaded when too many wait."""
        prepared = self._prepare(password)
        hashed = await self._pool.run(lambda: bcrypt.hashpw(prepared, bcrypt.gensalt(self._cost)))
        return f"{SCHEME}:{hashed.decode()}"

    def refuse_full(self) -> None:
        """Raises Overloaded when no password can be checked in time, whoever comes: before any store is asked."""
        self._pool.refuse_full()

    async def verify(self, password: str, stored: str | None, *, is_known: bool = False) -> bool:
        """Whether the password is the stored one; without a stored one the same work and False.

        Somebody who is known does not wait behind strangers. Raises Overloaded when it would take too long.
        """
        scheme, _, hashed = (stored or "").partition(":")
        against = hashed.encode() if scheme == SCHEME else DECOY
        check = partial(bcrypt.checkpw, self._prepare(password), against)
        matches = await self._pool.run(check, is_known=is_known)
        return matches and against is not DECOY

    def _prepare(self, password: str) -> bytes:
        """64 bytes whatever the length: bcrypt reads 72 and stops at a NUL, base64 has none."""
        return b64encode(hmac.digest(self._pepper, _normalised(password).encode(), hashlib.sha384))


def _normalised(password: str) -> str:
    """One form for what looks the same: keyboards disagree about how an accented letter is written."""
    return unicodedata.normalize("NFKC", password)
