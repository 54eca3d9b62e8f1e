"""The rules of leases, held to whatever order things may happen in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chat_service.domain.leases import LARGEST, NEAR, RENEW_BEFORE, SMALLEST, Grant, Holding, Lease

LIFETIME = timedelta(seconds=60)
RESETS = datetime(2026, 12, 1, tzinfo=UTC)


def a_grant(granted: int, *, used: int = 0, limit: int | None = 1_000, lease_id: str = "lease") -> Grant:
    return Grant(lease_id, granted, used, limit, LIFETIME, RESETS)


def holding(granted: int, *, limit: int | None = 1_000, want: int | None = None, now: float = 0) -> Holding:
    held = Holding("organization")
    held.learn(a_grant(granted, limit=limit), granted if want is None else want, asked_at=now, now=now)
    return held


class Plan(RuleBasedStateMachine):
    """A plan of 100 units and one holder; expired units are never granted again, so each may be burned at most once."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self.held = Holding("organization")
        self.now = 0.0
        self.granted = 0
        self.returned = 0
        self.burned = 0
        self.taken: list[Lease] = []

    @rule(waiting=st.integers(0, 40))
    def ask(self, waiting: int) -> None:
        want = self.held.want(waiting)
        room = self.LIMIT - self.granted + self.returned
        granted = min(want, room, max(1, room // 16))
        grant = a_grant(granted, used=self.burned, limit=self.LIMIT, lease_id=f"lease-{self.granted}")
        self.held.learn(grant, want, asked_at=self.now, now=self.now)
        self.granted += granted

    @rule()
    def take(self) -> None:
        lease = self.held.take(self.now)
        if lease is not None:
            self.taken.append(lease)

    @rule()
    def burn(self) -> None:
        if self.taken:
            self.taken.pop()
            self.burned += 1
            self.held.unrecorded += 1

    @rule()
    def put_back(self) -> None:
        if self.taken:
            self.held.put_back(self.taken.pop())

    @rule(seconds=st.floats(0, 120))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def lose_the_accounts(self) -> None:
        self.held.went_away(self.now)

    @rule(arrives=st.booleans())
    def give_up(self, arrives: bool) -> None:
        for back in self.held.give_up(self.now):
            if arrives:
                self.returned += back.unburned
            else:
                self.held.keep(back, self.now)

    @invariant()
    def what_is_burned_or_can_be_never_exceeds_the_grants(self) -> None:
        can_be = sum(lease.left for lease in self.held.leases)
        assert self.burned + len(self.taken) + can_be <= self.granted - self.returned <= self.LIMIT

    @invariant()
    def no_lease_owes_units(self) -> None:
        assert all(lease.left >= 0 for lease in self.held.leases)


TestPlan = Plan.TestCase


@given(st.integers(0, 50), st.integers(0, 3_000), st.one_of(st.none(), st.integers(0, 2_000)))
def test_it_refuses_exactly_when_the_plan_is_spent(granted: int, used: int, limit: int | None) -> None:
    grant = a_grant(granted, used=used, limit=limit)
    held = Holding("organization")
    held.learn(grant, granted or 1, asked_at=0, now=0)

    is_spent = granted == 0 and limit is not None and used >= limit
    assert grant.is_refusal == is_spent
    assert (held.refused(now=0.5) is not None) == is_spent
    assert held.refused(now=1.5) is None


@given(st.integers(1, 60), st.integers(1, NEAR))
def test_near_the_limit_each_message_asks_for_its_own_unit_and_nobody_asks_ahead(waiting: int, granted: int) -> None:
    held = holding(granted, want=max(waiting, NEAR + 1))

    assert held.is_near
    assert held.want(waiting) == waiting
    assert not held.should_renew(now=0)


@given(st.integers(0, 2_000), st.lists(st.floats(0.1, 100), max_size=20))
def test_what_is_asked_for_follows_use_within_bounds(waiting: int, pauses: list[float]) -> None:
    held, now = Holding("organization"), 0.0
    for pause in pauses:
        now += pause
        held.learn(a_grant(held.want(0), limit=None), held.want(0), asked_at=now, now=now)

    assert SMALLEST <= held.size <= LARGEST
    assert min(waiting, LARGEST) <= held.want(waiting) <= LARGEST


def test_units_used_up_at_once_are_asked_for_in_larger_portions() -> None:
    held = holding(20)

    held.learn(a_grant(20), 20, asked_at=1, now=1)

    assert held.size == 2 * holding(20).size


def test_units_that_lie_idle_are_asked_for_in_smaller_portions() -> None:
    held = holding(500)
    held.size = 400
    later = RENEW_BEFORE.total_seconds() + 1

    held.learn(a_grant(20), 20, asked_at=later, now=later)

    assert held.size == 200


def test_an_expired_unit_is_burned_only_while_the_accounts_are_away() -> None:
    held = holding(2)

    assert held.take(now=61) is None
    held.went_away(now=61)
    assert held.take(now=61.5) is not None
    assert held.take(now=63) is None


def test_a_lease_lives_from_when_it_was_asked_for_and_long_enough_to_serve_who_waits() -> None:
    slow = Holding("organization")
    slow.learn(a_grant(5), 5, asked_at=0, now=70)

    assert slow.take(now=70.5) is not None
    assert slow.take(now=72) is None


def test_what_is_given_up_cannot_be_taken_and_expired_units_are_not_returned() -> None:
    held = holding(5)
    taken = held.take(now=1)

    returns = held.give_up(now=2)

    assert [(back.lease_id, back.unburned) for back in returns] == [("lease", 4)]
    assert held.take(now=2) is None
    assert taken is not None
    held.put_back(taken)
    assert held.left(now=2) == 1
    assert holding(5).give_up(now=61) == []


@pytest.mark.parametrize(("left", "renews"), [(6, False), (5, True), (0, True)])
def test_it_asks_ahead_when_a_quarter_is_left(left: int, renews: bool) -> None:
    held = holding(left)
    held.size = 20

    assert held.should_renew(now=1) == renews


def test_usage_is_what_was_recorded_and_what_was_charged_since() -> None:
    held = holding(5, limit=10)
    held.unrecorded = 3
    held.recorded()

    assert (held.usage.used, held.usage.limit, held.usage.remaining) == (3, 10, 7)
    assert (held.used, held.unrecorded) == (1, 2)
