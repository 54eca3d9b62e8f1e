from datetime import timedelta

from shared.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("thing", failures=2, probe_every=timedelta(seconds=1), clock=clock)
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = opened(Clock())

    assert breaker.is_open
    assert not breaker.allows()


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker("thing", failures=2)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()

    assert not breaker.is_open


def test_one_probe_per_interval_while_open() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.now = 1.1

    assert breaker.allows()
    assert not breaker.allows()


def test_a_probe_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 1.1
    assert breaker.allows()

    breaker.succeeded()

    assert not breaker.is_open
    assert breaker.allows()


def test_an_abandoned_probe_gives_its_turn_to_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 1.1
    assert breaker.allows()

    breaker.abandoned()

    assert breaker.allows()


def test_a_deadline_of_ours_is_no_failure_while_others_get_answers() -> None:
    clock = Clock()
    breaker = Breaker("thing", failures=2, clock=clock)

    for _ in range(10):
        began = breaker.now
        clock.now += 0.6
        breaker.heard()
        clock.now += 0.2
        breaker.timed_out(began)

    assert not breaker.is_open


def test_a_deadline_that_left_no_time_to_answer_is_no_failure() -> None:
    clock = Clock()
    breaker = Breaker("thing", failures=2, clock=clock)

    for _ in range(10):
        began = breaker.now
        clock.now += 0.05
        breaker.timed_out(began)

    assert not breaker.is_open


def test_silence_towards_everybody_opens_it() -> None:
    clock = Clock()
    breaker = Breaker("thing", failures=2, clock=clock)
    breaker.heard()
    clock.now += 0.01

    for _ in range(2):
        began = breaker.now
        clock.now += 0.8
        breaker.timed_out(began)

    assert breaker.is_open


def test_a_probe_that_got_no_time_lets_the_next_one_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 1.1
    assert breaker.allows()

    breaker.timed_out(1.05)

    assert breaker.is_open
    assert breaker.allows()


def test_a_wait_that_our_own_process_slept_through_is_no_failure() -> None:
    clock = Clock()
    breaker = Breaker("thing", failures=2, clock=clock)

    for _ in range(10):
        began = breaker.now
        clock.now += 1.5
        breaker.timed_out(began, timedelta(seconds=0.8))

    assert not breaker.is_open
