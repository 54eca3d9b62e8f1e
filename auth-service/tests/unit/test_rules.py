"""The pure rules of quota and of refresh tokens."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.domain.quota import Counters, MeterUsage, Period, Recorded
from auth_service.domain.sessions import REPLAY_WINDOW, RefreshState, Verdict
from auth_service.domain.tokens import RefreshTokens, session_of, token_hash
from auth_service.testing import NOON

units = st.integers(0, 10_000)
LATER = NOON + timedelta(days=1)


@given(st.builds(Counters, units, units, units), units, st.integers(1, 500))
def test_a_lease_never_passes_the_plan_and_is_refused_only_when_it_is_spent(
    counters: Counters, limit: int, want: int
) -> None:
    granted = counters.grantable(limit, want)
    room = counters.room(limit)

    assert room is not None
    assert 0 <= granted <= min(want, room)
    assert (granted == 0) == (room == 0)
    assert counters.used + counters.reserved + counters.leased + granted <= max(
        limit, counters.used + counters.reserved + counters.leased
    )


@given(st.integers(0, 2_000), st.integers(1, 40))
def test_holders_who_ask_in_turn_share_everything_there_is(limit: int, want: int) -> None:
    leased = 0
    while granted := Counters(leased=leased).grantable(limit, want):
        leased += granted

    assert leased == limit


@given(st.builds(Counters, units, units, units), st.integers(1, 500))
def test_an_unlimited_plan_grants_what_is_wanted(counters: Counters, want: int) -> None:
    assert counters.grantable(None, want) == want
    assert counters.room(None) is None


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1 < moment.year < 9_999))
def test_every_moment_lies_in_one_month(moment: datetime) -> None:
    period = Period.of(moment)

    assert period.start <= moment < period.end
    assert Period.of(period.end).start == period.end
    assert Period.of(period.end - timedelta(microseconds=1)) == period
    assert (period.start.day, period.end.day) == (1, 1)


def test_a_month_is_one_of_utc_wherever_the_moment_was_read() -> None:
    new_year_in_tokyo = datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=9)))

    assert Period.of(new_year_in_tokyo).start == datetime(2026, 12, 1, tzinfo=UTC)


@given(units, st.none() | units)
def test_what_remains_is_never_negative(used: int, limit: int | None) -> None:
    remaining = MeterUsage(used, limit).remaining

    assert remaining is None if limit is None else remaining == max(0, limit - used)


def test_what_was_recorded_adds_up() -> None:
    assert sum([Recorded(1, 2), Recorded(3, 4)], Recorded()) == Recorded(4, 6)


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (RefreshState(LATER, None, LATER, None), Verdict.ROTATE),
        (RefreshState(LATER, NOON - REPLAY_WINDOW, LATER, None), Verdict.REPLAY),
        (RefreshState(LATER, NOON - REPLAY_WINDOW - timedelta(microseconds=1), LATER, None), Verdict.REUSE),
        (RefreshState(NOON, None, LATER, None), Verdict.DEAD),
        (RefreshState(LATER, None, NOON, None), Verdict.DEAD),
        (RefreshState(LATER, None, LATER, NOON), Verdict.DEAD),
        (RefreshState(LATER, NOON - timedelta(hours=1), LATER, NOON), Verdict.DEAD),
    ],
)
def test_what_a_shown_refresh_token_means(state: RefreshState, verdict: Verdict) -> None:
    assert state.judge(NOON) is verdict


def test_a_refresh_token_has_one_successor_under_one_key() -> None:
    tokens, others = RefreshTokens(b"k" * 32), RefreshTokens(b"o" * 32)
    first = tokens.first()

    assert tokens.successor(first) == tokens.successor(first)
    assert len({first, tokens.successor(first), others.successor(first), tokens.first()}) == 4
    assert token_hash(first) != token_hash(tokens.successor(first))
    assert first not in token_hash(first)


@pytest.mark.parametrize("token_id", ["", "x", "not-an-id.abc", "." * 10])
def test_an_id_that_is_not_ours_names_no_session(token_id: str) -> None:
    assert session_of(token_id) is None
