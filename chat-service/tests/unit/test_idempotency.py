import asyncio
from uuid import UUID

import pytest

from chat_service.domain import message_ids
from chat_service.domain.idempotency import Idempotency, KeyedRequest, Record
from chat_service.testing import InMemoryReplies
from shared.errors import IdempotencyConflict, IdempotencyMismatch

REQUEST = KeyedRequest("organization", "user", "/chat/message", "key", "body")


async def send(idempotency: Idempotency, request: KeyedRequest = REQUEST) -> tuple[bytes, bool]:
    async def work(message_id: UUID) -> bytes:
        await asyncio.sleep(0)
        return str(message_id).encode()

    return await idempotency.once(request, message_ids.new_message_id(), work)


async def test_a_repeat_gets_the_identical_reply() -> None:
    idempotency = Idempotency(InMemoryReplies(), "one")

    first, second = await send(idempotency), await send(idempotency)

    assert first[0] == second[0]
    assert (first[1], second[1]) == (False, True)


async def test_replicas_share_the_replies() -> None:
    replies = InMemoryReplies()

    first, second = await send(Idempotency(replies, "one")), await send(Idempotency(replies, "two"))

    assert first[0] == second[0]


async def test_another_body_under_the_same_key_is_refused() -> None:
    idempotency = Idempotency(InMemoryReplies(), "one")
    await send(idempotency)

    with pytest.raises(IdempotencyMismatch):
        await send(idempotency, KeyedRequest("organization", "user", "/chat/message", "key", "other"))


async def test_what_a_living_process_works_on_is_a_conflict() -> None:
    replies = InMemoryReplies()
    await replies.claim(REQUEST, Record("body", message_ids.new_message_id(), "one"))

    with pytest.raises(IdempotencyConflict):
        await send(Idempotency(replies, "two"))


async def test_the_work_of_a_dead_process_goes_on_under_the_same_message_id() -> None:
    replies = InMemoryReplies()
    message_id = message_ids.new_message_id()
    await replies.claim(REQUEST, Record("body", message_id, "one"))
    replies.dead.add("one")

    body, replayed = await send(Idempotency(replies, "two"))

    assert body == str(message_id).encode()
    assert not replayed


async def test_a_request_that_failed_may_be_tried_again() -> None:
    idempotency = Idempotency(InMemoryReplies(), "one")

    async def fail(_message_id: UUID) -> bytes:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await idempotency.once(REQUEST, message_ids.new_message_id(), fail)

    assert (await send(idempotency))[1] is False


async def test_two_at_the_same_time_are_one_message() -> None:
    idempotency = Idempotency(InMemoryReplies(), "one")

    replies = await asyncio.gather(*(send(idempotency) for _ in range(5)))

    assert len({body for body, _ in replies}) == 1
