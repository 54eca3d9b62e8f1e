"""Work beside the requests."""

import asyncio
from datetime import timedelta

from auth_service.upkeep import Upkeep
from shared.errors import CapabilityUnavailable

SOON = timedelta(milliseconds=10)


async def test_every_job_is_done_before_the_service_has_started() -> None:
    done: list[str] = []

    async def job() -> None:
        done.append("once")

    upkeep = Upkeep({"job": (timedelta(hours=1), job)})
    await upkeep.start()
    await upkeep.close()

    assert done == ["once"]


async def test_a_round_that_fails_is_not_the_last() -> None:
    rounds: list[int] = []
    enough = asyncio.Event()

    async def job() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise CapabilityUnavailable(capability="accounts")
        if len(rounds) == 2:
            raise ZeroDivisionError
        enough.set()

    upkeep = Upkeep({"job": (SOON, job)})
    await upkeep.start()
    await asyncio.wait_for(enough.wait(), 2)
    await upkeep.close()

    assert len(rounds) >= 3
