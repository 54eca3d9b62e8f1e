"""The limits on guessing and on mass registration, over hits in memory."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.domain.throttle import LONGEST_ADVICE, Limit, Throttle
from auth_service.testing import NOON, MemoryThrottles, Watch
from shared.errors import RateLimited

ADA, BEN = "ada@example.com", "ben@example.com"
HOME, FAR = "192.0.2.1", "203.0.113.9"
WINDOW = timedelta(minutes=1)

moments = st.lists(st.integers(-200, 0).map(lambda second: NOON + timedelta(seconds=second)), max_size=12)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def throttle(watch: Watch) -> Throttle:
    return Throttle(MemoryThrottles(), b"a key for tests only", watch)


@given(moments, st.integers(1, 6))
def test_after_the_wait_one_more_is_allowed_and_a_moment_sooner_it_is_not(hits: list[datetime], most: int) -> None:
    limit = Limit("things", most, WINDOW, WINDOW)
    wait = limit.wait(hits, NOON)

    def recent(now: datetime) -> int:
        return sum(1 for hit in hits if hit > now - WINDOW)

    assert timedelta(0) <= wait <= WINDOW
    assert recent(NOON + wait) < most
    if wait:
        assert recent(NOON + wait - timedelta(microseconds=1)) >= most


async def wrong(
    throttle: Throttle, times: int, email: str = ADA, address: str = FAR, *, is_known: bool = False
) -> None:
    for _ in range(times):
        await throttle.count_wrong_login(email, address, is_known=is_known)


async def test_ten_wrong_logins_close_an_account_for_a_quarter_of_an_hour(throttle: Throttle, watch: Watch) -> None:
    await wrong(throttle, 10)

    with pytest.raises(RateLimited) as refusal:
        await throttle.admit_login(ADA, "198.51.100.1", is_known=False)
    assert refusal.value.retry_after == LONGEST_ADVICE
    await throttle.admit_login(BEN, "198.51.100.1", is_known=False)
    watch.forward(timedelta(minutes=15))
    await throttle.admit_login(ADA, FAR, is_known=False)


async def test_from_a_place_the_account_was_used_from_it_is_closed_for_a_minute_only(
    throttle: Throttle, watch: Watch
) -> None:
    await wrong(throttle, 10)

    with pytest.raises(RateLimited):
        await throttle.admit_login(ADA, HOME, is_known=True)
    watch.forward(timedelta(seconds=60))
    await throttle.admit_login(ADA, HOME, is_known=True)


async def test_thirty_wrong_logins_from_an_address_close_it_for_every_account(throttle: Throttle) -> None:
    for number in range(30):
        await wrong(throttle, 1, f"{number}@example.com")

    with pytest.raises(RateLimited):
        await throttle.admit_login(BEN, FAR, is_known=False)
    await throttle.admit_login(BEN, HOME, is_known=False)


async def test_the_eleventh_wrong_login_is_not_judged(throttle: Throttle) -> None:
    await wrong(throttle, 10)

    with pytest.raises(RateLimited):
        await wrong(throttle, 1)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("no address", "another", True),
    ],
)
def test_who_counts_as_one_address(throttle: Throttle, one: str, other: str, is_same: bool) -> None:
    assert (throttle.address_key(one) == throttle.address_key(other)) is is_same


async def test_neither_addresses_nor_emails_are_stored(watch: Watch) -> None:
    kept = MemoryThrottles()
    await wrong(Throttle(kept, b"a key", watch), 1)
    await wrong(Throttle(kept, b"another key", watch), 1)

    assert len(kept._hits) == 4, "another key, other subjects"
    assert not any(word in key for key in kept._hits for word in (ADA.encode(), FAR.encode()))


async def test_sixty_registrations_a_minute_from_one_address_and_ten_taken_addresses_an_hour(
    throttle: Throttle, watch: Watch
) -> None:
    for _ in range(60):
        await throttle.count_registration(HOME)
    with pytest.raises(RateLimited):
        await throttle.count_registration(HOME)
    watch.forward(WINDOW)
    await throttle.count_registration(HOME)

    for _ in range(10):
        await throttle.count_email_taken(FAR)
    with pytest.raises(RateLimited):
        await throttle.count_email_taken(FAR)
