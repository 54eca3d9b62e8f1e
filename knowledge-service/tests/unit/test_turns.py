"""Fair shares of a scarce worker by organization."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_service.domain.turns import FairTurns, RoundRobin
from shared.errors import Overloaded

ORGANIZATIONS = st.sampled_from(["a", "b", "c"])


@given(st.lists(ORGANIZATIONS, min_size=1, max_size=60))
def test_nobody_is_served_twice_before_everybody_who_waits_was_served_once(came: list[str]) -> None:
    line: RoundRobin[tuple[str, int]] = RoundRobin()
    for number, organization in enumerate(came):
        line.add(organization, (organization, number))

    served: list[tuple[str, int]] = []
    while (found := line.next()) is not None:
        served.append(found)

    assert sorted(served, key=lambda each: each[1]) == list(zip(came, range(len(came)), strict=True))
    left = Counter(came)
    for index, (organization, _) in enumerate(served):
        others = {name for name in left if left[name] and name != organization}
        again = next((i for i, each in enumerate(served[index + 1 :]) if each[0] == organization), len(served))
        between = {name for name, _ in served[index + 1 : index + 1 + again]}
        left[organization] -= 1
        assert others <= between or not left[organization]


@given(st.lists(ORGANIZATIONS, max_size=30))
def test_each_organization_keeps_its_own_order(came: list[str]) -> None:
    line: RoundRobin[int] = RoundRobin()
    for number, organization in enumerate(came):
        line.add(organization, number)

    served = []
    while (found := line.next()) is not None:
        served.append(found)

    for organization in set(came):
        own = [number for number in served if came[number] == organization]
        assert own == sorted(own)


async def test_a_neighbour_waits_for_one_turn_of_a_busy_organization_not_for_all() -> None:
    turns = FairTurns(1, waiting_each=100)
    order: list[str] = []

    async def work(organization: str) -> None:
        async with turns.turn(organization):
            order.append(organization)
            await asyncio.sleep(0)

    busy = [asyncio.create_task(work("busy")) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(*busy, work("neighbour"))

    assert order.index("neighbour") <= 4, "of twenty: one ran, and some had begun before it came"


async def test_too_many_of_one_organization_are_refused_and_others_are_not() -> None:
    turns = FairTurns(1, waiting_each=2)
    end = asyncio.Event()

    async def hold(organization: str) -> None:
        async with turns.turn(organization):
            await end.wait()

    held = [asyncio.create_task(hold("busy")) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await hold("busy")
    neighbour = asyncio.create_task(hold("neighbour"))
    await asyncio.sleep(0)
    end.set()
    await asyncio.gather(*held, neighbour)


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    turns = FairTurns(1, waiting_each=10)
    end = asyncio.Event()

    async def hold() -> None:
        async with turns.turn("o"):
            await end.wait()

    first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    end.set()
    await first

    async with asyncio.timeout(1), turns.turn("o"):
        pass


async def test_who_is_called_in_the_moment_of_giving_up_passes_the_turn_on() -> None:
    turns = FairTurns(1, waiting_each=10)
    end = asyncio.Event()

    async def hold() -> None:
        async with turns.turn("o"):
            await end.wait()

    first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    end.set()
    await first
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    async with asyncio.timeout(1), turns.turn("o"):
        pass


async def test_work_holds_its_turn_to_the_end_although_its_caller_has_left() -> None:
    turns = FairTurns(1, waiting_each=10)
    end, ended = asyncio.Event(), []

    async def work() -> None:
        await end.wait()
        ended.append("first")

    caller = asyncio.create_task(turns.run("o", work))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)

    async def next_one() -> None:
        async with turns.turn("p"):
            ended.append("second")

    following = asyncio.create_task(next_one())
    await asyncio.sleep(0.01)
    assert ended == []
    end.set()
    await following
    assert ended == ["first", "second"]


async def test_the_failure_of_work_reaches_its_caller_and_frees_the_turn() -> None:
    turns = FairTurns(1, waiting_each=10)

    async def work() -> None:
        raise Overloaded

    for _ in range(2):
        with pytest.raises(Overloaded):
            await turns.run("o", work)
