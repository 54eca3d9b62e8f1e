import asyncio
import contextlib
import gc

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from shared import background as module
from shared.background import ENDED, Background
from shared.errors import CapabilityUnavailable
from shared.metrics import RequestMetrics
from shared.testing import eventually


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", module.FIRST_PAUSE / 10)
    monkeypatch.setattr(module, "CANCEL_AGAIN", module.CANCEL_AGAIN / 20)


class Pump:
    """A loop that breaks as often as it is told to, then goes on for ever."""

    def __init__(self, breaks: int = 0) -> None:
        self.breaks = breaks
        self.starts = 0
        self.is_running = False

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self.breaks:
            raise ValueError("a leak")
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_running = False


def counted(work: str) -> float:
    return ENDED.labels(work)._value.get()


async def test_a_loop_runs_until_the_block_ends() -> None:
    pump = Pump()

    async with Background() as background:
        background.keep(pump.run)
        await eventually(lambda: pump.is_running)

    assert not pump.is_running
    assert pump.starts == 1


async def test_a_loop_that_breaks_is_reported_counted_and_started_again() -> None:
    pump, before = Pump(breaks=2), counted("Pump.run")

    with capture_logs() as logged:
        async with Background() as background:
            background.keep(pump.run)
            await eventually(lambda: pump.is_running)

    assert pump.starts == 3
    assert counted("Pump.run") == before + 2
    assert [(line["event"], line["log_level"], line["work"], line["error"]) for line in logged] == [
        ("background_work_ended", "error", "Pump.run", "ValueError('a leak')")
    ] * 2


async def test_a_loop_that_returns_is_a_loop_that_ended() -> None:
    runs = 0

    async def once() -> None:
        nonlocal runs
        runs += 1

    before = counted("a loop")
    async with Background() as background:
        background.keep(once, "a loop")
        await eventually(lambda: runs > 1)

    assert counted("a loop") > before


async def test_the_pause_before_a_start_grows_and_has_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", note)
    pump = Pump(breaks=12)
    async with Background() as background:
        background.keep(pump.run)
        while not pump.is_running:
            await sleep(0)

    first, longest = module.FIRST_PAUSE.total_seconds(), module.LONGEST_PAUSE.total_seconds()
    assert len(pauses) == 12
    assert all(first * 2**n / 2 <= pause <= first * 2**n for n, pause in enumerate(pauses[:9]))
    assert all(longest / 2 <= pause <= longest for pause in pauses[10:])
    assert len({round(pause / (first * 2**n), 6) for n, pause in enumerate(pauses[:9])}) > 1


async def test_a_job_gives_its_result_and_is_forgotten() -> None:
    async def add() -> int:
        return 40 + 2

    async with Background() as background:
        assert await background.spawn(add()) == 42
        await asyncio.sleep(0)
        assert background._tasks == set()


async def test_a_job_that_fails_is_reported_though_nobody_waits_for_it() -> None:
    async def fail() -> None:
        raise CapabilityUnavailable(capability="cache")

    with capture_logs() as logged:
        async with Background() as background:
            job = background.spawn(fail())
            await eventually(job.done)

    assert [(line["event"], line["log_level"]) for line in logged] == [("background_work_ended", "error")]
    assert "fail" in logged[0]["work"]


async def test_a_job_nobody_holds_is_not_collected() -> None:
    done = asyncio.Event()

    async def wait_on_nothing_else() -> None:
        await asyncio.get_running_loop().create_future()

    async def work() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wait_on_nothing_else(), 0.05)
        done.set()

    async with Background() as background:
        background.spawn(work())
        await asyncio.sleep(0)
        gc.collect()
        async with asyncio.timeout(2):
            await done.wait()


async def test_work_that_misses_a_cancellation_is_cancelled_again() -> None:
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    missed: list[bool] = []

    async def deaf() -> None:
        try:
            await arrived
        except asyncio.CancelledError:
            missed.append(True)  # as libraries do
        await asyncio.Event().wait()

    background = Background()
    task = background.spawn(deaf())
    await asyncio.sleep(0)
    await background.close()

    assert missed == [True]
    assert task.cancelled()


async def test_work_whose_answer_arrives_in_the_turn_of_its_cancellation_ends_all_the_same() -> None:
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        await asyncio.wait_for(arrived, 60)
        await asyncio.Event().wait()

    background = Background()
    task = background.spawn(listen())
    await asyncio.sleep(0)
    arrived.set_result(None)
    await background.close()

    assert task.cancelled()


async def test_work_that_takes_time_to_clean_up_is_waited_for() -> None:
    cleaned = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    async with Background() as background:
        background.spawn(tidy())
        await asyncio.sleep(0)

    assert cleaned == [True]


async def test_work_that_begins_while_the_rest_is_ended_is_ended_as_well() -> None:
    pump = Pump()
    background = Background()

    async def leave_a_successor() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            background.keep(pump.run)

    background.spawn(leave_a_successor())
    await asyncio.sleep(0)
    await background.close()

    assert background._tasks == set()
    assert not pump.is_running


async def test_everything_ends_when_the_block_is_left_by_an_error() -> None:
    pump = Pump()

    async def fail_beside_it() -> None:
        async with Background() as background:
            background.keep(pump.run)
            await eventually(lambda: pump.is_running)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_beside_it()

    assert not pump.is_running


async def test_the_count_is_among_the_metrics_of_every_service() -> None:
    ENDED.labels("a pump").inc()

    assert 'background_work_ended_total{work="a pump"}' in generate_latest(RequestMetrics("any").registry).decode()
    assert 'background_work_ended_total{work="a pump"}' in generate_latest(RequestMetrics("other").registry).decode()
