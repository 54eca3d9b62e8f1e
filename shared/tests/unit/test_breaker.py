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
