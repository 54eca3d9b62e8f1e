"""Requests that are repeated under an Idempotency-Key."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from auth_service.domain.idempotency import Repeatable
from shared.errors import EmailTaken, IdempotencyMismatch
from shared.idempotency import Idempotency, KeyedRequest, Record
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
    return process(empty_stores)


def process(stores: Any, secret: bytes = b"a secret for tests only") -> Repeatable:
    """One of the processes of the service."""
    return Repeatable(Idempotency(stores.replies, str(new_id())), secret)


async def test_a_repeated_request_is_answered_with_the_first_reply(repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()

    replies = [await repeatable.once("register", key, REQUEST, work) for _ in range(3)]

    assert [(reply.reply, reply.is_replayed) for reply in replies] == [
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

    assert (await repeatable.once("another", key, b"{}", work)).reply == b"reply 2"


async def test_a_refused_request_may_be_made_again(repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()

    async def refused() -> bytes:
        raise EmailTaken

    with pytest.raises(EmailTaken):
        await repeatable.once("register", key, REQUEST, refused)

    assert (await repeatable.once("register", key, REQUEST, work)).reply == b"reply 1"


async def test_what_is_kept_holds_no_word_of_the_reply(empty_stores: Any) -> None:
    kept: list[bytes] = []
    finish = empty_stores.replies.finish

    async def note(request: KeyedRequest, record: Record) -> None:
        kept.append(record.reply)
        await finish(request, record)

    empty_stores.replies.finish = note
    await process(empty_stores).once("register", str(new_id()), REQUEST, Work())

    assert len(kept) == 1
    assert b"reply" not in kept[0]


async def test_another_process_opens_what_was_sealed_and_another_secret_does_not(empty_stores: Any) -> None:
    key, work = str(new_id()), Work()
    await process(empty_stores).once("register", key, REQUEST, work)

    assert (await process(empty_stores).once("register", key, REQUEST, work)).reply == b"reply 1"
    stranger = await process(empty_stores, b"another secret").once("register", key, REQUEST, work)
    assert not stranger.is_replayed


async def test_a_key_is_forgotten_after_a_day(empty_stores: Any, repeatable: Repeatable) -> None:
    key, work = str(new_id()), Work()
    await repeatable.once("register", key, REQUEST, work)
    empty_stores.watch.forward(timedelta(hours=24, seconds=1))

    assert (await repeatable.once("register", key, b"{}", work)).reply == b"reply 2"
