"""Repeats come from a budget, and a neighbour is asked a second time only where that is allowed."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import Contract
from shared.errors import CapabilityUnavailable
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.repeats import BURST, RepeatBudget
from shared.testing import KEY


class Answer(Contract):
    number: int


class Failing(httpx2.AsyncBaseTransport):
    """A network that fails in one way so many times, then answers."""

    def __init__(self, failure: type[httpx2.TransportError], times: int) -> None:
        self._failure = failure
        self.left = times
        self.asked = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise self._failure("broken", request=request)
        return httpx2.Response(200, json={"number": 42})


def client_over(network: Failing) -> ServiceClient:
    urls = "http://127.0.0.1:1,http://127.0.0.1:2"
    return ServiceClient("any", urls, IdentitySigner(KEY, "me"), capability="tasks", transport=network)


async def test_what_may_be_repeated_is_asked_for_once_more() -> None:
    network = Failing(httpx2.ReadError, 1)

    assert (await client_over(network).get("/x", Answer)).number == 42
    assert network.asked == 2


async def test_never_more_than_twice() -> None:
    network = Failing(httpx2.ReadError, 5)

    with pytest.raises(CapabilityUnavailable):
        await client_over(network).get("/x", Answer)

    assert network.asked == 2


async def test_what_may_not_be_repeated_is_repeated_only_if_it_was_never_sent() -> None:
    sent, never_sent = Failing(httpx2.ReadError, 1), Failing(httpx2.ConnectError, 1)

    with pytest.raises(CapabilityUnavailable):
        await client_over(sent).post("/x", Answer(number=1), Answer)

    assert sent.asked == 1
    assert (await client_over(never_sent).post("/x", Answer(number=1), Answer)).number == 42


async def test_a_spent_budget_ends_the_repeats() -> None:
    network = Failing(httpx2.ReadError, 1)
    client = client_over(network)
    client._budget.tokens = 0.0

    with pytest.raises(CapabilityUnavailable):
        await client.get("/x", Answer)

    assert network.asked == 1


@given(st.lists(st.booleans(), max_size=2_000))
def test_whatever_happens_repeats_stay_below_a_tenth_of_the_requests_and_one_burst(steps: list[bool]) -> None:
    budget, requests, repeats = RepeatBudget(), 0, 0
    for is_repeat in steps:
        if is_repeat:
            repeats += budget.spend()
        else:
            budget.earn()
            requests += 1

    assert repeats <= BURST + requests / 10 + 1e-6
