"""Access tokens between servers whose clocks differ: what is expired, and what only a wrong clock says."""

from datetime import UTC, datetime

import pytest

from gateway.domain.tokens import Claims, RevocationSnapshot, Revoked, Tokens
from shared.errors import ClockSkew, Unauthenticated
from shared.testing import somebody

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
LIFE = 900.0


class Genuine:
    """Finds every signature right; tokens begin at `issued_at` by the clock of auth-service."""

    def __init__(self, issued_at: float, not_before: float = 0.0) -> None:
        self._claims = Claims(somebody(), "s", issued_at, issued_at + LIFE, not_before)

    async def check(self, token: str) -> Claims:
        """The claims, whatever the token."""
        del token
        return self._claims


def tokens(*, ahead: float, age: float, not_before: float = 0.0) -> Tokens:
    """A gateway whose clock is `ahead` of auth-service's, where it is NOON, and a token of that age."""
    revoked = Revoked()
    for as_of in (NOON - 4, NOON - 2):
        revoked.replace(RevocationSnapshot(as_of), lambda: NOON + ahead)
    return Tokens(Genuine(NOON - age, not_before), revoked, lambda: NOON + ahead)


@pytest.mark.parametrize("ahead", [-59, -10, -2, 0, 2, 10, 59])
async def test_a_fresh_token_is_let_in_when_clocks_differ_by_less_than_a_minute(ahead: float) -> None:
    claims = await tokens(ahead=ahead, age=0).verify(b"Bearer x")

    assert claims.issued_at == NOON


@pytest.mark.parametrize("ahead", [-90, -3_600])
async def test_a_token_from_the_future_is_our_fault(ahead: float) -> None:
    with pytest.raises(ClockSkew) as refusal:
        await tokens(ahead=ahead, age=0).verify(b"Bearer x")

    assert refusal.value.status == 503


async def test_a_token_that_is_not_valid_yet_is_our_fault() -> None:
    with pytest.raises(ClockSkew):
        await tokens(ahead=0, age=0, not_before=NOON + 90).verify(b"Bearer x")


@pytest.mark.parametrize("ahead", [-90, -10, 0, 10, 90])
async def test_an_expired_token_is_expired(ahead: float) -> None:
    with pytest.raises(Unauthenticated):
        await tokens(ahead=ahead, age=LIFE + 5 + max(0, -ahead)).verify(b"Bearer x")


@pytest.mark.parametrize(("ahead", "age"), [(1_000, 0), (90, LIFE - 60)])
async def test_a_token_that_only_our_clock_calls_expired_is_our_fault(ahead: float, age: float) -> None:
    with pytest.raises(ClockSkew):
        await tokens(ahead=ahead, age=age).verify(b"Bearer x")


async def test_a_snapshot_that_could_not_be_renewed_says_nothing_about_a_clock() -> None:
    revoked = Revoked()

    revoked.replace(RevocationSnapshot(NOON - 9_000), lambda: NOON)
    assert revoked.ahead == 0, "the first may be as old as an outage"
    revoked.replace(RevocationSnapshot(NOON), lambda: NOON + 1)
    revoked.replace(RevocationSnapshot(NOON), lambda: NOON + 3_600)
    assert revoked.ahead == 1
