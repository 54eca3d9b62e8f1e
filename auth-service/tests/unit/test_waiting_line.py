"""Who is served next and who is sent away: the rule, without a thread or a clock."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from auth_service.domain.waiting_line import Place, WaitingLine
from shared.errors import Overloaded

COST = timedelta(milliseconds=100)


def line(servers: int = 1, patience: timedelta = timedelta(milliseconds=500)) -> WaitingLine:
    return WaitingLine(servers=servers, patience=patience, cost=COST)


def test_nobody_waits_while_a_server_is_free() -> None:
    assert line().wait(is_known=False) == timedelta(0)


def test_the_line_is_as_long_as_patience_pays_for() -> None:
    one = line()
    one.join(is_known=False)
    one.take()
    for _ in range(5):
        one.join(is_known=False)

    with pytest.raises(Overloaded):
        one.join(is_known=False)
    assert len(one) == 5


def test_a_slower_machine_has_a_shorter_line() -> None:
    one = line()
    for _ in range(50):
        place, _ = one.join(is_known=False)
        one.take()
        one.leave(place, timedelta(milliseconds=300))
    one.join(is_known=False)
    one.take()
    one.join(is_known=False)

    with pytest.raises(Overloaded):
        one.join(is_known=False)


def test_a_full_line_of_strangers_keeps_nobody_known_out() -> None:
    one = line()
    one.join(is_known=False)
    one.take()
    strangers = [one.join(is_known=False)[0] for _ in range(5)]

    known, gone = one.join(is_known=True)

    assert gone == [strangers[-1]]
    assert one.wait(is_known=True) == 2 * COST
    one.leave(place := strangers[0])
    assert place.state == "gone"
    assert one.take() is None, "the server is busy"
    assert known.state == "waiting"


@given(st.integers(1, 8), st.integers(1, 5_000), st.integers(1, 2_000), st.integers(0, 200))
def test_the_advice_is_true(servers: int, patience: int, cost: int, more: int) -> None:
    one = WaitingLine(servers=servers, patience=timedelta(milliseconds=patience), cost=timedelta(milliseconds=cost))
    advice = 0
    for _ in range(servers + more):
        try:
            one.join(is_known=False)
            one.take()
        except Overloaded as refusal:
            advice = refusal.retry_after or 0
            break

    if advice:
        served = advice * 1_000 * servers // cost
        wait = timedelta(milliseconds=max(0, len(one) + 1 - served) * cost / servers)
        assert wait <= timedelta(milliseconds=patience)


class Line(RuleBasedStateMachine):
    """Any order of coming, being served and going away."""

    @initialize(servers=st.integers(1, 4), patience=st.integers(1, 900))
    def open(self, servers: int, patience: int) -> None:
        self.servers, self.patience = servers, timedelta(milliseconds=patience)
        self.line = line(servers, self.patience)
        self.waiting: list[Place] = []
        self.served: list[Place] = []

    @rule(is_known=st.booleans())
    def join(self, is_known: bool) -> None:
        expected = self.line.wait(is_known=is_known)
        try:
            place, gone = self.line.join(is_known=is_known)
        except Overloaded:
            assert expected > self.patience
            return
        assert expected <= self.patience
        assert not any(one.is_known for one in gone), "the known are never sent away for others"
        assert gone == [one for one in reversed(self.waiting) if not one.is_known][: len(gone)], "last come, first gone"
        self.waiting = [*(one for one in self.waiting if one not in gone), place]

    @rule()
    def take(self) -> None:
        place = self.line.take()
        if place is None:
            assert len(self.served) == self.servers or not self.waiting
            return
        first_known = next((one for one in self.waiting if one.is_known), None)
        assert place is (first_known or self.waiting[0]), "the known first, each in the order they came"
        self.waiting.remove(place)
        self.served.append(place)

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.served))
        self.served.remove(place)
        self.line.leave(place, COST)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(place)
        self.line.leave(place)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if hasattr(self, "line"):
            assert len(self.line) == len(self.waiting)
            assert len(self.served) <= self.servers

    @invariant()
    def no_stranger_waits_longer_than_patience(self) -> None:
        if hasattr(self, "line") and any(not one.is_known for one in self.waiting):
            assert (len(self.waiting) - self.servers + len(self.served)) * COST / self.servers <= self.patience


TestLine = Line.TestCase
