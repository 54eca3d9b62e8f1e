"""Admission before work, on a clock that only moves when told; property tests play random traffic through a pool."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.admission import MAX_RETRY_AFTER, MAX_WAIT, SHARES, ConcurrencyLimit, Kind, Pool, Ticket
from gateway.routes.entrance import pools

INTERACTIVE = SHARES["interactive"]
KINDS: Sequence[Kind] = ("analytics", "search", "chat_free", "chat_paid")


def fixed(value: float) -> ConcurrencyLimit:
    """A limit that does not move."""
    return ConcurrencyLimit(initial=value, smallest=value, largest=value)


def interactive(limit: float = 20) -> Pool:
    return Pool(fixed(limit), INTERACTIVE)


def asked(pool: Pool, kind: Kind, count: int, organization: str = "acme", now: float = 0.0) -> list[Ticket]:
    return [pool.ask(kind, organization, now) for _ in range(count)]


def states(tickets: Sequence[Ticket]) -> Counter[str]:
    return Counter(ticket.state for ticket in tickets)


# --- who is let in


def test_whoever_comes_first_begins_until_the_limit_is_reached() -> None:
    pool = interactive(20)

    tickets = asked(pool, "chat_paid", 21)

    assert states(tickets) == {"admitted": 20, "waiting": 1}
    assert pool.in_flight == 20


@pytest.mark.parametrize(("kind", "begun"), [("analytics", 10), ("search", 15), ("chat_free", 18), ("chat_paid", 20)])
def test_a_class_fills_the_pool_up_to_its_ceiling_only(kind: Kind, begun: int) -> None:
    assert states(asked(interactive(20), kind, 30))["admitted"] == begun


@pytest.mark.parametrize(("kind", "kept"), [("analytics", 2), ("search", 4), ("chat_free", 6)])
def test_nobody_can_take_the_share_of_a_class(kind: Kind, kept: int) -> None:
    pool = interactive(20)
    asked(pool, "chat_paid", 20)

    assert states(asked(pool, kind, 30, "other"))["admitted"] == kept


def test_a_request_that_ends_makes_place_for_one_that_waits() -> None:
    pool = interactive(20)
    first, *_, last = asked(pool, "chat_paid", 21)

    called = pool.leave(first, 0.01)

    assert called == [last]
    assert last.state == "admitted"
    assert last.began_at == 0.01


def test_the_more_important_class_goes_first_once_everybody_has_its_share() -> None:
    pool = interactive(20)
    begun = asked(pool, "chat_paid", 14)
    asked(pool, "chat_free", 6)
    free = asked(pool, "chat_free", 1)[0]
    paid = asked(pool, "chat_paid", 1)[0]

    assert pool.leave(begun[0], 0.01) == [paid]
    assert free.state == "waiting"


def test_a_class_below_its_share_goes_before_every_other() -> None:
    pool = interactive(20)
    begun = asked(pool, "chat_paid", 20)
    kept = asked(pool, "analytics", 2)
    behind = asked(pool, "analytics", 1)[0]
    asked(pool, "chat_paid", 1, "other")

    assert behind.state == "waiting"
    assert pool.leave(kept[0], 0.01) == [behind]
    assert pool.leave(begun[0], 0.01) == []


# --- fair shares by organization


def test_the_organization_with_the_fewest_under_way_goes_first() -> None:
    pool = interactive(20)
    begun = asked(pool, "chat_paid", 20, "giant")
    asked(pool, "chat_paid", 5, "giant")
    small = asked(pool, "chat_paid", 2, "small")

    assert pool.leave(begun[0], 0.01) == [small[0]]
    assert pool.leave(begun[1], 0.01) == [small[1]]
    assert pool.leave(begun[2], 0.01)[0].organization == "giant"


def test_an_organization_that_floods_queues_behind_itself_not_before_others() -> None:
    pool = interactive(20)
    asked(pool, "chat_paid", 100, "giant")

    tickets = asked(pool, "chat_paid", 1, "small")

    assert states(tickets) == {"waiting": 1}


# --- time


def test_a_wait_ends_after_50_ms() -> None:
    pool = interactive(20)
    asked(pool, "chat_paid", 20)
    waiting = asked(pool, "chat_paid", 3, now=1.0)

    assert pool.next_expiry() == 1.0 + MAX_WAIT
    assert pool.expire(1.0 + MAX_WAIT - 0.001) == []
    assert pool.expire(1.0 + MAX_WAIT) == waiting
    assert states(waiting) == {"refused": 3}
    assert pool.next_expiry() is None


def test_who_cannot_have_a_turn_in_time_is_refused_at_once() -> None:
    pool = interactive(20)
    asked(pool, "chat_paid", 20)

    assert states(asked(pool, "chat_paid", 100)) == {"waiting": 20, "refused": 80}


def test_a_queue_is_as_long_as_what_leaves_while_it_waits() -> None:
    pool = interactive(20)
    now = 0.0
    for _ in range(1000):
        ticket = pool.ask("chat_paid", "acme", now)
        pool.leave(ticket, now)
        now += 0.0015

    asked(pool, "chat_paid", 20, now=now)

    assert states(asked(pool, "chat_paid", 100, now=now))["waiting"] == math.ceil(MAX_WAIT / 0.0015)


def test_a_refusal_says_to_come_back_after_as_many_seconds_as_the_refused_need() -> None:
    pool = interactive(20)
    asked(pool, "chat_paid", 140, now=0.0)
    pool.expire(0.5)

    refused = [ticket for ticket in asked(pool, "chat_paid", 50, now=1.0) if ticket.state == "refused"]

    assert {ticket.retry_after for ticket in refused} == {1 + 120 // 20}


def test_a_client_that_leaves_while_it_waits_is_forgotten() -> None:
    pool = interactive(20)
    begun = asked(pool, "chat_paid", 20)
    gone, stays = asked(pool, "chat_paid", 2)

    assert pool.leave(gone, 0.01) == []
    assert pool.leave(begun[0], 0.02) == [stays]
    assert pool.in_flight == 20


def test_leaving_twice_counts_once() -> None:
    pool = interactive(20)
    ticket = asked(pool, "chat_paid", 1)[0]
    pool.leave(ticket, 0.1)
    pool.leave(ticket, 0.1)

    assert pool.in_flight == 0


def test_a_report_counts_what_was_let_in_and_refused() -> None:
    pool = interactive(20)
    asked(pool, "chat_paid", 100)
    pool.expire(1.0)

    assert pool.report()["chat_paid"] == (20, 20, 80)
    assert pool.report()["search"] == (0, 0, 0)


def test_every_class_has_exactly_one_pool_and_the_shares_of_a_pool_are_a_whole() -> None:
    kinds = [kind for pool in pools(64).values() for kind in pool.kinds]

    assert len(kinds) == len(set(kinds)) == 6
    for shares in SHARES.values():
        assert sum(share.guaranteed for share in shares.values()) == pytest.approx(1.0)
        assert all(share.guaranteed <= share.ceiling <= 1 for share in shares.values())


# --- the limit follows the latency


@dataclass
class Machine:
    """A service that works on `capacity` requests at once and queues the others; its latency follows Little's law."""

    limit: ConcurrencyLimit
    capacity: float
    usual: float = 0.02
    now: float = field(default=0.0)

    def latency(self, in_flight: float) -> float:
        return self.usual * max(1.0, in_flight / self.capacity)

    def run(self, seconds: float, demand: float = math.inf) -> None:
        """So many seconds with as much under way as the limit allows, or as is asked for."""
        until = self.now + seconds
        while self.now < until:
            in_flight = min(demand, self.limit.value)
            took = self.latency(in_flight)
            for _ in range(max(1, int(in_flight))):
                self.limit.began(int(in_flight))
                self.limit.ended("send_message", took, self.now)
            self.now += took


def test_the_limit_grows_while_latency_stays_as_it_is() -> None:
    limit = ConcurrencyLimit(initial=32)
    Machine(limit, capacity=10_000).run(30)

    assert limit.value == 256


def test_the_limit_falls_when_latency_rises_and_never_below_its_floor() -> None:
    limit = ConcurrencyLimit(initial=64)
    machine = Machine(limit, capacity=1_000)
    machine.run(5, demand=10)
    machine.capacity = 2.0
    machine.run(20)

    assert limit.value == pytest.approx(16, abs=1)


def test_under_overload_the_limit_settles_where_latency_is_a_few_times_the_usual() -> None:
    limit = ConcurrencyLimit(initial=64)
    machine = Machine(limit, capacity=20)
    machine.run(10, demand=10)
    machine.run(60)

    assert 20 < limit.value < 60
    assert machine.latency(limit.value) < 3 * machine.usual


def test_an_hour_of_overload_does_not_become_the_new_usual() -> None:
    limit = ConcurrencyLimit(initial=64)
    machine = Machine(limit, capacity=20)
    machine.run(10, demand=10)
    machine.run(3600)

    assert machine.latency(limit.value) < 6 * machine.usual


def test_after_an_overload_the_limit_comes_back_within_ten_seconds() -> None:
    limit = ConcurrencyLimit(initial=64)
    machine = Machine(limit, capacity=100)
    machine.run(10, demand=40)
    machine.capacity = 4
    machine.run(60)
    machine.capacity = 100
    machine.run(10)

    assert limit.value > 64


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limit = ConcurrencyLimit(initial=64)
    Machine(limit, capacity=10_000).run(10, demand=5)

    assert limit.value == 64


def test_a_few_milliseconds_are_no_congestion() -> None:
    limit = ConcurrencyLimit(initial=64)
    machine = Machine(limit, capacity=10_000, usual=0.002)
    machine.run(5, demand=20)
    machine.usual = 0.012
    machine.run(5)

    assert limit.value > 64


def test_another_mix_of_operations_is_no_congestion() -> None:
    limit = ConcurrencyLimit(initial=64)
    now = 0.0
    for slow_ones in (1, 19):
        for _ in range(400):
            now += 0.01
            for number in range(20):
                slow = number < slow_ones
                limit.began(60)
                limit.ended("export" if slow else "send_message", 0.4 if slow else 0.015, now)

    assert limit.value > 64


def test_a_latency_of_nothing_divides_by_nothing() -> None:
    limit = ConcurrencyLimit(initial=64)
    for number in range(100):
        limit.began(64)
        limit.ended("send_message", 0.0, number * 0.1)

    assert limit.value >= 64


# --- random traffic

Step = tuple[str, Kind, str, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "leave", "expire"]),
        st.sampled_from(KINDS),
        st.sampled_from(["a", "b", "c"]),
        st.floats(0, 0.03),
    ),
    max_size=200,
)


class Traffic:
    """Plays steps through a pool and keeps what it was told."""

    def __init__(self, limit: float) -> None:
        self.pool = interactive(limit)
        self.limit = limit
        self.now = 0.0
        self.tickets: list[Ticket] = []

    def play(self, steps: Sequence[Step]) -> None:
        for what, kind, organization, passed in steps:
            self.now += passed
            self.pool.expire(self.now)
            if what == "ask":
                self.tickets.append(self.pool.ask(kind, organization, self.now))
            elif what == "leave" and (under_way := self.of("admitted")):
                self.pool.leave(under_way[0], self.now)
            self.check()

    def of(self, state: str) -> list[Ticket]:
        return [ticket for ticket in self.tickets if ticket.state == state]

    def check(self) -> None:
        admitted, waiting = self.of("admitted"), self.of("waiting")
        assert self.pool.in_flight == len(admitted)
        assert len(admitted) <= self.limit + sum(max(1, self.limit * s.guaranteed) for s in INTERACTIVE.values())
        assert all(self.now - ticket.asked_at < MAX_WAIT for ticket in waiting)
        for kind, share in INTERACTIVE.items():
            held = sum(ticket.kind == kind for ticket in admitted)
            if any(ticket.kind == kind for ticket in waiting):
                assert held >= math.floor(self.limit * share.guaranteed)
                assert len(admitted) >= math.floor(self.limit * share.ceiling)


@given(steps, st.integers(4, 40))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_limits_shares_and_waits_hold(steps: list[Step], limit: int) -> None:
    Traffic(limit).play(steps)


@given(steps)
@settings(max_examples=50, deadline=None)
def test_whatever_came_nothing_is_left_once_everybody_left(steps: list[Step]) -> None:
    traffic = Traffic(8)
    traffic.play(steps)

    while under_way := traffic.of("admitted"):
        traffic.pool.leave(under_way[0], traffic.now)
    traffic.pool.expire(traffic.now + 1)

    assert traffic.pool.in_flight == 0
    assert traffic.pool.next_expiry() is None
    assert {ticket.state for ticket in traffic.tickets} <= {"left", "refused"}


@given(steps)
@settings(max_examples=50, deadline=None)
def test_whatever_comes_a_refusal_names_a_bounded_wait(steps: list[Step]) -> None:
    traffic = Traffic(4)
    traffic.play(steps)

    assert all(1 <= ticket.retry_after <= MAX_RETRY_AFTER for ticket in traffic.of("refused"))


@given(st.lists(st.tuples(st.sampled_from(["ask", "history"]), st.floats(0, 20)), max_size=300))
@settings(max_examples=100, deadline=None)
def test_whatever_latency_is_measured_the_limit_stays_between_its_ends(samples: list[tuple[str, float]]) -> None:
    limit = ConcurrencyLimit()
    for number, (operation, took) in enumerate(samples):
        limit.began(64)
        limit.ended(operation, took, number * 0.05)

        assert 16 <= limit.value <= 256


def test_a_flood_of_one_organization_leaves_the_others_their_latency() -> None:
    """A giant offers ten times what is held, a small one a little: nobody of the small one is refused."""
    pool, now = interactive(16), 0.0
    under_way: list[tuple[float, Ticket]] = []
    small: list[Ticket] = []
    for number in range(20_000):
        now += 0.00025
        pool.expire(now)
        while under_way and under_way[0][0] <= now:
            called = pool.leave(under_way.pop(0)[1], now)
            under_way += [(now + 0.02, ticket) for ticket in called]
        organization = "small" if number % 100 == 0 else "giant"
        ticket = pool.ask("chat_paid", organization, now)
        if ticket.state == "admitted":
            under_way.append((now + 0.02, ticket))
        if organization == "small":
            small.append(ticket)

    assert states(small)["refused"] == 0
    assert len(small) == 200
