import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import HybridClock

SECOND = 1_000_000
"""In microseconds."""
TRUE_TIME = 1_800_000_000 * SECOND
"""What the engine of these tests says at their beginning."""


class Machine:
    """A machine whose wall clock is wrong, and an engine that it can ask, `delay` microseconds away."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.passed = 0
        self.delay = 200
        self.clock = HybridClock(
            lambda: (TRUE_TIME + self.passed + self.ahead) * 1000, lambda: (77 * SECOND + self.passed) * 1000
        )

    async def compare(self) -> None:
        await self.clock.compare(self._engine)

    async def _engine(self) -> int:
        self.passed += self.delay
        now = TRUE_TIME + self.passed
        self.passed += self.delay
        return now


def test_it_never_gives_a_stamp_twice_nor_goes_back_with_the_wall_clock() -> None:
    machine = Machine(ahead=0)
    stamps = [machine.clock.now() for _ in range(3)]
    machine.ahead = -90 * SECOND
    stamps += [machine.clock.now() for _ in range(3)]

    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("seconds", [-90, -10, -2, 0, 2, 10, 90])
async def test_machines_whose_clocks_differ_stamp_alike_once_they_asked(seconds: int) -> None:
    machine, other = Machine(ahead=seconds * SECOND), Machine(ahead=0)
    for each in (machine, other):
        await each.compare()

    assert machine.clock.skew_ms == seconds * 1000
    assert abs(machine.clock.now() - other.clock.now()) <= machine.delay


async def test_stamps_from_before_the_first_comparison_do_not_keep_it_ahead() -> None:
    machine = Machine(ahead=90 * SECOND)
    machine.clock.now()

    await machine.compare()

    assert machine.clock.now() - (TRUE_TIME + machine.passed) < SECOND


async def test_a_slow_reply_changes_little() -> None:
    machine = Machine(ahead=0)
    await machine.compare()
    before = machine.clock.now() - machine.passed
    machine.delay = 40_000
    await machine.compare()

    assert machine.clock.now() - machine.passed - before <= 5


async def test_a_machine_that_slept_is_right_after_the_next_reply_however_slow() -> None:
    machine = Machine(ahead=0)
    await machine.compare()
    asleep = 3_600 * SECOND
    machine.delay = 40_000

    async def engine_after_sleep() -> int:
        machine.passed += 2 * machine.delay
        return TRUE_TIME + asleep + machine.passed - machine.delay

    await machine.clock.compare(engine_after_sleep)

    assert abs(machine.clock.now() - (TRUE_TIME + asleep + machine.passed)) <= machine.delay


@given(st.lists(st.one_of(st.none(), st.integers(0, 4 * TRUE_TIME)), max_size=4), st.integers(-90, 90))
def test_a_write_comes_after_all_that_was_read_whatever_the_clocks(versions: list[int | None], seconds: int) -> None:
    clock = Machine(ahead=seconds * SECOND).clock

    assert clock.after(*versions) > max((version for version in versions if version is not None), default=0)
