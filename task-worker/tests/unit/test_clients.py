"""What a task needs of its neighbours: the same promises from the twins in memory and over HTTP."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.contracts.chat import Turn
from shared.contracts.knowledge import RetrievedArticle
from shared.errors import CapabilityUnavailable, Conflict, NotFound, QuotaExceeded
from shared.http_client import ServiceClient
from shared.identity import IdentitySigner
from shared.testing import KEY
from task_worker.clients.conversations import ChatConversations
from task_worker.clients.knowledge import ServiceKnowledge
from task_worker.clients.notifications import ServiceNotifications
from task_worker.clients.quota import AuthQuota
from task_worker.domain.task import Event, Settling
from task_worker.testing import InMemoryNotifications, InMemoryQuota, Neighbours, running_neighbours


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[Neighbours, str]]:
    with running_neighbours() as running:
        yield running


@pytest.fixture
def neighbours(_running: tuple[Neighbours, str]) -> Iterator[Neighbours]:
    twins = _running[0]
    twins.limit, twins.away = 1_000_000, set()
    yield twins
    twins.away = set()


def a_turn(created_at: datetime) -> Turn:
    return Turn(
        message_id=str(uuid4()),
        session_id="s",
        user_id="u",
        question="q",
        outcome="answered",
        confidence=0.9,
        created_at=created_at,
    )


def an_article(question: str) -> RetrievedArticle:
    return RetrievedArticle(article_id="a", version=1, question=question, answer="An answer.", score=0, confidence=0)


class Accounts:
    """Quota in memory or over HTTP, with the switches that both twins have."""

    def __init__(self, quota: Any, switches: Any) -> None:
        self.quota, self._switches = quota, switches

    def limit(self, limit: int) -> None:
        self._switches.limit = limit

    def leave(self) -> None:
        if isinstance(self._switches, Neighbours):
            self._switches.away = {"auth-service"}
        else:
            self._switches.error = CapabilityUnavailable(capability="tasks")

    def state(self, organization_id: str, task_id: Any) -> str | None:
        kept = self._switches.reservations if isinstance(self._switches, Neighbours) else self._switches.states
        return dict(kept).get((organization_id, str(task_id)))


@pytest.fixture(params=["memory", "http"])
def accounts(request: pytest.FixtureRequest, neighbours: Neighbours) -> Accounts:
    if request.param == "memory":
        twin = InMemoryQuota()
        return Accounts(twin, twin)
    return Accounts(AuthQuota(request.getfixturevalue("auth")), neighbours)


@pytest.fixture
async def auth(_running: tuple[Neighbours, str]) -> AsyncIterator[ServiceClient]:
    made = ServiceClient("auth-service", _running[1], IdentitySigner(KEY, "task-worker"), capability="tasks")
    await made.start()
    yield made
    await made.close()


async def test_a_reservation_is_made_once_however_often_it_is_asked_for(accounts: Accounts) -> None:
    organization, task = str(uuid4()), uuid4()
    accounts.limit(1)

    await accounts.quota.reserve(organization, task)
    await accounts.quota.reserve(organization, task)

    assert accounts.state(organization, task) == "reserved"


async def test_a_spent_quota_is_refused_and_a_refund_makes_room(accounts: Accounts) -> None:
    organization, first, second = str(uuid4()), uuid4(), uuid4()
    accounts.limit(1)
    await accounts.quota.reserve(organization, first)

    with pytest.raises(QuotaExceeded):
        await accounts.quota.reserve(organization, second)
    await accounts.quota.settle(Settling(organization, first, "refund", 0))
    await accounts.quota.reserve(organization, second)

    assert accounts.state(organization, second) == "reserved"


async def test_a_settlement_is_made_once_and_the_first_one_holds(accounts: Accounts) -> None:
    organization, task = str(uuid4()), uuid4()
    await accounts.quota.reserve(organization, task)

    await accounts.quota.settle(Settling(organization, task, "commit", 0))
    await accounts.quota.settle(Settling(organization, task, "commit", 0))
    with pytest.raises(Conflict):
        await accounts.quota.settle(Settling(organization, task, "refund", 0))

    assert accounts.state(organization, task) == "committed"


async def test_what_was_never_reserved_cannot_be_settled(accounts: Accounts) -> None:
    with pytest.raises(NotFound):
        await accounts.quota.settle(Settling(str(uuid4()), uuid4(), "refund", 0))


async def test_accounts_that_are_away_are_an_outage_of_tasks(accounts: Accounts) -> None:
    accounts.leave()

    with pytest.raises(CapabilityUnavailable) as refused:
        await accounts.quota.reserve(str(uuid4()), uuid4())

    assert refused.value.extra["capability"] == "tasks"


class Doors:
    """A door for events in memory or over HTTP, and how often each was told."""

    def __init__(self, notifications: Any, told: Any) -> None:
        self.notifications, self.told = notifications, told


@pytest.fixture(params=["memory", "http"])
async def doors(
    request: pytest.FixtureRequest, neighbours: Neighbours, _running: tuple[Neighbours, str]
) -> AsyncIterator[Doors]:
    if request.param == "memory":
        twin = InMemoryNotifications()
        yield Doors(twin, twin.told)
        return
    signer = IdentitySigner(KEY, "task-worker")
    made = ServiceClient("notification-service", _running[1], signer, capability="notifications")
    await made.start()
    yield Doors(ServiceNotifications(made), neighbours.notified)
    await made.close()


async def test_an_event_may_be_told_again_without_harm(doors: Doors) -> None:
    event = Event(
        f"task:{uuid4()}:ended", "org", "user", "task.succeeded", "Ready", "Done.", {"a": "b"}, datetime.now(UTC)
    )

    await doors.notifications.notify(event)
    await doors.notifications.notify(event)

    assert doors.told[event.event_id] == 2


@pytest.fixture
async def chat(_running: tuple[Neighbours, str]) -> AsyncIterator[ServiceClient]:
    made = ServiceClient("chat-service", _running[1], IdentitySigner(KEY, "task-worker"), capability="conversations")
    await made.start()
    yield made
    await made.close()


async def test_conversations_come_in_pages_the_newest_first_and_within_the_period(
    chat: ServiceClient, neighbours: Neighbours
) -> None:
    organization, first = str(uuid4()), datetime(2026, 1, 1, tzinfo=UTC)
    neighbours.turns[organization] = [a_turn(first + timedelta(minutes=number)) for number in range(1_500)]
    until = first + timedelta(minutes=1_400)

    pages = [page async for page in ChatConversations(chat).pages(organization, first, until)]

    moments = [turn.created_at for page in pages for turn in page]
    assert [len(page) for page in pages] == [1_000, 400]
    assert moments == sorted(moments, reverse=True)
    assert (moments[0], moments[-1]) == (until - timedelta(minutes=1), first)


async def test_an_organization_without_conversations_has_an_empty_page(chat: ServiceClient) -> None:
    pages = [page async for page in ChatConversations(chat).pages(str(uuid4()), None, None)]

    assert [list(page) for page in pages] == [[]]


@pytest.fixture
async def knowledge(_running: tuple[Neighbours, str]) -> AsyncIterator[ServiceClient]:
    made = ServiceClient("knowledge-service", _running[1], IdentitySigner(KEY, "task-worker"), capability="knowledge")
    await made.start()
    yield made
    await made.close()


async def test_articles_are_found_for_each_query_in_the_order_of_the_queries(
    knowledge: ServiceClient, neighbours: Neighbours
) -> None:
    organization = str(uuid4())
    neighbours.articles[organization] = [an_article("What is a cache?"), an_article("How do refunds work?")]

    found = await ServiceKnowledge(knowledge).look_up(organization, ["refunds please", "nothing", "cache"], 3)

    assert [[hit.question for hit in hits] for hits in found.hits] == [
        ["How do refunds work?"],
        [],
        ["What is a cache?"],
    ]
