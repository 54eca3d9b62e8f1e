import asyncio

import pytest
from structlog.testing import capture_logs

from shared.single_flight import SingleFlight
from shared.testing import eventually


class Work:
    """Runs until it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self.error = error

    async def run(self) -> int:
        self.runs += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.runs


async def waiting(flights: SingleFlight[str, int], work: Work, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.run("key", work.run)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_however_many_wait_the_work_is_done_once() -> None:
    flights, work = SingleFlight[str, int](), Work()
    tasks = await waiting(flights, work, 20)

    work.go.set()

    assert await asyncio.gather(*tasks) == [1] * 20


async def test_each_key_has_a_run_of_its_own() -> None:
    flights, work = SingleFlight[str, int](), Work()
    work.go.set()

    await asyncio.gather(flights.run("one", work.run), flights.run("two", work.run))

    assert work.runs == 2


async def test_whoever_gives_up_does_not_end_the_run() -> None:
    flights, work = SingleFlight[str, int](), Work()
    first, second = await waiting(flights, work, 2)

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.go.set()

    assert await second == 1


async def test_a_run_that_everybody_gave_up_goes_on_and_serves_the_next() -> None:
    flights, work = SingleFlight[str, int](), Work()
    (only,) = await waiting(flights, work, 1)
    only.cancel()
    await asyncio.sleep(0)

    late = asyncio.create_task(flights.run("key", work.run))
    work.go.set()

    assert await late == 1
    assert work.runs == 1


async def test_a_failure_reaches_all_who_wait() -> None:
    flights, work = SingleFlight[str, int](), Work(ZeroDivisionError())
    tasks = await waiting(flights, work, 3)

    work.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3


@pytest.mark.parametrize("error", [None, ZeroDivisionError()])
async def test_the_key_is_free_afterwards(error: Exception | None) -> None:
    flights, work = SingleFlight[str, int](), Work(error)
    work.go.set()
    await asyncio.gather(flights.run("key", work.run), return_exceptions=True)
    assert "key" not in flights

    work.error = None
    assert await flights.run("key", work.run) == 2


async def test_a_failure_that_nobody_waits_for_is_only_logged() -> None:
    flights, work = SingleFlight[str, int](), Work(ZeroDivisionError())

    with capture_logs() as logged:
        flights.start("key", work.run)
        assert "key" in flights
        work.go.set()
        await eventually(lambda: "key" not in flights)

    assert [line["event"] for line in logged] == ["shared_run_failed"]
