"""Which passwords are accepted, and how they are kept."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from auth_service.domain.hashing import HashingPool
from auth_service.domain.passwords import SCHEME, Passwords, common_passwords
from shared.errors import InvalidRequest

PEPPER = b"a pepper for tests only"


@pytest.fixture
def pool() -> Iterator[HashingPool]:
    made = HashingPool(threads=1, patience=timedelta(seconds=10))
    yield made
    made.close()


@pytest.fixture
def passwords(pool: HashingPool) -> Passwords:
    return Passwords(PEPPER, pool, common_passwords())


def test_the_shipped_list_has_ten_thousand_passwords_that_would_be_long_enough() -> None:
    common = common_passwords()

    assert len(common) >= 10_000
    assert min(len(password) for password in common) >= 8
    assert {"password1", "iloveyou", "12345678"} <= common


@pytest.mark.parametrize("password", ["password1", "PASSWORD1", "".join(chr(ord(c) + 0xFEE0) for c in "password1")])
def test_a_common_password_is_refused_in_any_dress(passwords: Passwords, password: str) -> None:
    with pytest.raises(InvalidRequest):
        passwords.refuse_common(password)


def test_the_password_of_the_documents_is_accepted(passwords: Passwords) -> None:
    passwords.refuse_common("SecurePass123!")


async def test_the_whole_of_a_long_password_counts(passwords: Passwords) -> None:
    stored = await passwords.hash("x" * 200 + "a")

    assert await passwords.verify("x" * 200 + "a", stored)
    assert not await passwords.verify("x" * 200 + "b", stored)


async def test_an_accent_may_be_typed_either_way(passwords: Passwords) -> None:
    stored = await passwords.hash("caf\u00e9 au lait")

    assert await passwords.verify("cafe\u0301 au lait", stored)


async def test_a_hash_says_its_scheme_and_is_worthless_without_the_pepper(
    passwords: Passwords, pool: HashingPool
) -> None:
    stored = await passwords.hash("SecurePass123!")

    assert stored.startswith(f"{SCHEME}:$2b$10$")
    assert not await Passwords(b"another", pool, frozenset()).verify("SecurePass123!", stored)


async def test_an_unknown_account_costs_the_same_work(passwords: Passwords) -> None:
    stored = await passwords.hash("SecurePass123!")

    async def cost(against: str | None) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            assert not await passwords.verify("wrong password", against)
            took.append(time.perf_counter() - began)
        return min(took)

    known, unknown = await cost(stored), await cost(None)

    assert 0.5 < known / unknown < 2
