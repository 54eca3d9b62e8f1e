"""Registering and logging in, over stores in memory that tell what they were asked."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from auth_service.domain.accounts import Accounts, Newcomer
from auth_service.domain.hashing import HashingPool
from auth_service.domain.keys import KeyRing, KeySafe
from auth_service.domain.passwords import Passwords
from auth_service.domain.sessions import Sessions
from auth_service.domain.throttle import Throttle
from auth_service.domain.tokens import AccessTokens, RefreshTokens
from auth_service.refusals import Refusals
from auth_service.testing import MemoryAccounts, MemoryAudit, MemoryKeys, MemoryThrottles, Watch
from shared.errors import InvalidCredentials, InvalidRequest, Overloaded, RateLimited

SECRET = b"a secret for tests only, never used outside them"
RIGHT, WRONG = "SecurePass123!", "WrongPass123!"
HOME, FAR = "192.0.2.1", "203.0.113.9"


class Telling:
    """A store that tells the names of what it was asked, in order."""

    def __init__(self, store: Any, asked: list[str]) -> None:
        self._store = store
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        self._asked.append(name)
        return getattr(self._store, name)


class World:
    """The domain of accounts over memory; `asked` is every call of a store, `hashed` what was asked of the pool."""

    def __init__(self, pool: HashingPool) -> None:
        self.watch = Watch()
        self.asked: list[str] = []
        self.audit = MemoryAudit()
        self.refusals = Refusals(self.audit, self.watch)
        people = MemoryAccounts(self.watch, self.audit)
        self.ring = KeyRing(MemoryKeys(), KeySafe(SECRET), self.watch, timedelta(minutes=15))
        access = AccessTokens(self.ring, issuer="i", audience="a", lifetime=timedelta(minutes=15))
        lifetimes = {"refresh_lifetime": timedelta(days=30), "session_lifetime": timedelta(days=90)}
        self.accounts = Accounts(
            Telling(people, self.asked),
            Passwords(SECRET, pool, frozenset({"password1"}), cost=4),
            Throttle(Telling(MemoryThrottles(), self.asked), SECRET, self.watch),
            Sessions(people, access, RefreshTokens(SECRET), self.watch, **lifetimes),
            self.refusals,
            self_service_plans=frozenset({"free"}),
        )

    async def register(self, email: str = "ada@example.com", **changes: str) -> None:
        asked = {"password": RIGHT, "plan": "free", "organization": "Acme", "name": "Ada"} | changes
        await self.accounts.register(Newcomer(email, sample=True, **asked), HOME)
        self.asked.clear()


class Recording(HashingPool):
    """Threads that remember whether who came was known."""

    def __init__(self) -> None:
        super().__init__(threads=1, patience=timedelta(seconds=10))
        self.known: list[bool] = []

    async def run(self, work: Any, *, is_known: bool = False) -> Any:
        """As ever, and remember."""
        self.known.append(is_known)
        return await super().run(work, is_known=is_known)


@pytest.fixture
def pool() -> Iterator[Recording]:
    made = Recording()
    yield made
    made.close()


@pytest.fixture
async def world(pool: Recording) -> World:
    made = World(pool)
    await made.ring.reload()
    return made


async def test_a_wrong_login_asks_the_same_of_every_store_whether_or_not_the_address_is_known(world: World) -> None:
    await world.register()

    with pytest.raises(InvalidCredentials):
        await world.accounts.login("ada@example.com", WRONG, FAR)
    known, world.asked[:] = list(world.asked), []
    with pytest.raises(InvalidCredentials):
        await world.accounts.login("nobody@example.com", WRONG, FAR)

    assert world.asked == known == ["find_login", "hits", "take"]


async def test_a_wrong_login_of_an_account_is_noted_and_one_of_nobody_is_not(world: World) -> None:
    await world.register()

    for email in ("ada@example.com", "nobody@example.com"):
        with pytest.raises(InvalidCredentials):
            await world.accounts.login(email, WRONG, FAR)

    assert [event.action for event in world.refusals.waiting] == ["login.refused"]


async def test_only_who_comes_from_an_address_they_used_is_known_to_the_hashing_threads(
    world: World, pool: Recording
) -> None:
    await world.register()
    pool.known.clear()

    await world.accounts.login("ada@example.com", RIGHT, HOME)
    for email, address in (("ada@example.com", FAR), ("nobody@example.com", HOME)):
        with pytest.raises(InvalidCredentials):
            await world.accounts.login(email, WRONG, address)

    assert pool.known == [True, False, False]


async def test_a_login_that_cannot_be_hashed_now_counts_as_no_guess(world: World) -> None:
    await world.register()
    world.accounts._passwords._pool._line._busy = 10**6
    world.accounts._passwords._pool._line._patience = timedelta(0)

    with pytest.raises(Overloaded):
        await world.accounts.login("ada@example.com", RIGHT, FAR)

    assert world.asked == [], "a flood that cannot be served costs the database nothing"
    assert world.refusals.waiting == []


async def test_after_ten_wrong_ones_the_right_password_is_not_told_elsewhere_but_at_home_after_a_minute(
    world: World,
) -> None:
    await world.register()
    for _ in range(10):
        with pytest.raises(InvalidCredentials):
            await world.accounts.login("ada@example.com", WRONG, FAR)

    with pytest.raises(RateLimited):
        await world.accounts.login("ada@example.com", RIGHT, FAR)
    world.watch.forward(timedelta(minutes=1, seconds=1))
    with pytest.raises(RateLimited):
        await world.accounts.login("ada@example.com", RIGHT, FAR)

    assert (await world.accounts.login("ada@example.com", RIGHT, HOME)).access_token


@pytest.mark.parametrize(
    ("changes", "field", "asked"),
    [({"plan": "pro"}, "subscription_plan", []), ({"password": "password1"}, "password", ["take"])],
)
async def test_a_registration_that_is_refused_asks_no_more_than_the_throttle(
    world: World, changes: dict[str, str], field: str, asked: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await world.register(**changes)

    assert [error.field for error in refusal.value.errors] == [field]
    assert world.asked == asked
