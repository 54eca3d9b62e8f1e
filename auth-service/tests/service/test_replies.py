"""Requests that are repeated under an Idempotency-Key."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from auth_service.domain.idempotency import Repeatable
from shared.errors import EmailTaken, IdempotencyConflict, IdempotencyMismatch
from shared.ids import new_id

REQUEST = b'{"email":"ada@example.com"}'


class Work:
    def __init__(self) -> None:
        self.runs = 0
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> bytes:
        self.runs += 1
        self.has_begun.set()
        await self.may_end.wait()
        return b"reply %d" % self.runs


@pytest.fixture
def repeatable(empty_stores: Any) -> Repeatable:
    return Repeatable(empty_stores.replies, b"a secret for tests only", empty_stores.watch)


async def test_a_repeated_request_is_answered_with_the_first_reply(repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()

    replies = [await repeatable.once("register", key, REQUEST, work) for _ in range(3)]

    assert [(reply.body, reply.is_replayed) for reply in replies] == [
        (b"reply 1", False),
        (b"reply 1", True),
        (b"reply 1", True),
    ]


async def test_without_a_key_every_request_is_its_own(repeatable: Repeatable) -> None:
    work = Work()

    for _ in range(2):
        await repeatable.once("register", None, REQUEST, work)

    assert work.runs == 2


async def test_a_key_is_good_for_one_request(repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()
    await repeatable.once("register", key, REQUEST, work)

    with pytest.raises(IdempotencyMismatch):
        await repeatable.once("register", key, b"{}", work)

    assert (await repeatable.once("another", key, b"{}", work)).body == b"reply 2"


async def test_a_repeat_while_the_first_is_worked_on_is_told_to_wait(repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()
    work.may_end.clear()
    first = asyncio.create_task(repeatable.once("register", key, REQUEST, work))
    await work.has_begun.wait()

    with pytest.raises(IdempotencyConflict):
        await repeatable.once("register", key, REQUEST, work)
    work.may_end.set()

    assert (await first).body == b"reply 1"


async def test_a_refused_request_may_be_made_again(repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()

    async def refused() -> bytes:
        raise EmailTaken

    with pytest.raises(EmailTaken):
        await repeatable.once("register", key, REQUEST, refused)

    assert (await repeatable.once("register", key, REQUEST, work)).body == b"reply 1"


async def test_a_request_that_died_with_its_process_may_be_made_again(
    empty_stores: Any, repeatable: Repeatable
) -> None:
    key, work = str(new_id()), Work()
    work.may_end.clear()
    died = asyncio.create_task(repeatable.once("register", key, REQUEST, work))
    await work.has_begun.wait()
    empty_stores.watch.forward(timedelta(seconds=31))
    work.may_end.set()

    again = await repeatable.once("register", key, REQUEST, Work())

    assert not again.is_replayed
    await died


async def test_a_key_is_forgotten_after_a_day(empty_stores: Any, repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()
    await repeatable.once("register", key, REQUEST, work)
    empty_stores.watch.forward(timedelta(hours=24, seconds=1))

    assert (await repeatable.once("register", key, b"{}", work)).body == b"reply 2"
