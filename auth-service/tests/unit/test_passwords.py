"""Which passwords are accepted, and how they are kept."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from auth_service.domain.accounts import Newcomer
from auth_service.domain.guessing import guesses
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
async def test_a_common_password_is_refused_in_any_dress(passwords: Passwords, password: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await passwords.refuse_weak(password)

    assert [error.code for error in refusal.value.errors] == ["common_password"]


ADA = Newcomer("ada.lovelace@example.com", "", "free", "Acme Rocket", "Ada Lovelace", sample=True)
WEAK = """
password123456789
qwertyuiopasdfgh
multidbmultidb
MultiDB2026!
multidb12345
adalovelaceadalovelace
ada.lovelace2024
AdaLovelace1!
lovelace123
password1!
Password123!
P@ssw0rd123
passwordpassword
abcabcabcabc
aaaaaaaaaaaa
1234567890123
abcdefghijklm
qwerty123456
1qaz2wsx3edc
zaq12wsx
asdfghjkl123
letmein12345
iloveyou2024
iloveyouiloveyou
monkey123456
dragon99999
football2024!
Welcome2024!
welcome123
admin123456
administrator1
changeme123
sunshine1234
princess2023
1q2w3e4r5t6y
qazwsxedcrfv
poiuytrewq
0987654321
11111111111
12341234
abcd1234abcd1234
password2024
drowssap123
summer2024
Winter2023!
trustno1trustno1
qwerty12qwerty12
19901990
exampleexample
example.com1
Lovelace.Ada
acmeacmeacme
acme-2026
AcmeRocket1
rocketacme12
FAQfaqFAQ123
passwort2024
hallo123456
13.08.1987
aB3aB3aB3aB3
"""
FINE = """
SecurePass123!
WrongPass123!
correct horse battery staple
tr0ub4dor&3x
vF9#kQ2!mZ7p
blue-otter-quiet-lamp
Xk7pQ2mvLz
7hg2-kd9s-qq3z
mein fahrrad ist gruen
café au lait 42 fois
h4ppy-T1ger-moves
zebra lamp orbit
quiet rivers hold fish
Gv8!tnP0wz
ninety-two purple socks
k3yb0ard-cactus-9
my dog ate 3 shoes
Riesling&Spätzle77
l9Wm2qTzB4
umbrella.teapot.cyan
Tq7uzKf2
839201847362
7#2$9!4%a8
ada 7hg2-kd9s-qq3z
dune-harbor-velvet
"""


@pytest.mark.parametrize("password", [*WEAK.split("\n")[1:-1], "password" * 32, "qwertyuiopasdfgh" * 16])
async def test_a_password_that_would_be_guessed_soon_is_refused_however_long_it_is(
    passwords: Passwords, password: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await passwords.refuse_weak(password, ADA.personal)

    (error,) = refusal.value.errors
    assert (error.field, error.code in {"weak_password", "common_password"}) == ("password", True)
    assert password not in error.message


@pytest.mark.parametrize("password", [*FINE.split("\n")[1:-1], "x7" * 3 + "quiet otter lamp " * 14])
async def test_a_password_that_is_hard_to_guess_is_accepted(passwords: Passwords, password: str) -> None:
    await passwords.refuse_weak(password, ADA.personal)


async def test_one_persons_name_is_another_ones_password(passwords: Passwords) -> None:
    password = "Grunewald-Ötztal"

    await passwords.refuse_weak(password, ADA.personal)
    with pytest.raises(InvalidRequest):
        await passwords.refuse_weak(password, ("grunewald.ötztal", "example.com", "", ""))


@pytest.mark.parametrize(
    "password", ["1qaz@WSX" * 32, "p@$$w0rd1!" * 25, "ab1 password " * 19, "@4$!0" * 51, "é" * 256]
)
def test_judging_the_longest_password_takes_no_longer_than_a_hash(password: str) -> None:
    guesses("warm up", ())
    began = time.thread_time()

    guesses(password, ADA.personal)

    assert time.thread_time() - began < 0.06


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
