import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from shared import idempotency as module
from shared.errors import IdempotencyConflict, IdempotencyMismatch, InvalidRequest
from shared.idempotency import Answered, Idempotency, KeyedRequest, Record, fingerprint, key_of
from shared.ids import new_id
from shared.testing import InMemoryReplies

REQUEST = KeyedRequest("organization", "user", "/chat/message", "key", fingerprint(b"body"))


class Work:
    """Counts its runs and may be held up."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, work_id: UUID) -> bytes:
        self.ids.append(work_id)
        await self.go.wait()
        return b"reply %d" % len(self.ids)


@pytest.fixture
def replies() -> InMemoryReplies:
    return InMemoryReplies()


@pytest.fixture
def work() -> Work:
    return Work()


def one(replies: InMemoryReplies) -> Idempotency:
    return Idempotency(replies, "one")


@pytest.mark.parametrize("key", [b"k", b"!", b"~", b"a" * 255])
def test_a_key_is_visible_ascii(key: bytes) -> None:
    assert key_of([(b"accept", b"*/*"), (b"idempotency-key", key)]) == key.decode()
    assert key_of([(b"accept", b"*/*")]) is None


@pytest.mark.parametrize("keys", [[b""], [b"a" * 256], [b"a b"], [b"a\x00"], [b"caf\xc3\xa9"], [b"one", b"one"]])
def test_any_other_key_is_refused_with_the_name_of_the_header(keys: list[bytes]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        key_of([(b"idempotency-key", key) for key in keys])

    assert [(error.field, error.code) for error in refusal.value.errors] == [("Idempotency-Key", "invalid_header")]


def test_a_fingerprint_tells_where_its_parts_end() -> None:
    assert fingerprint(b"a", b"b") == fingerprint(b"a", b"b")
    assert len({fingerprint(b"ab"), fingerprint(b"a", b"b"), fingerprint(b"", b"ab")}) == 3


async def test_work_gets_the_id_it_was_given(replies: InMemoryReplies, work: Work) -> None:
    wanted = new_id()

    await one(replies).once(REQUEST, work, work_id=wanted)

    assert work.ids == [wanted]


async def test_two_at_the_same_time_in_one_process_are_one_run(replies: InMemoryReplies, work: Work) -> None:
    idempotency = one(replies)

    answers = await asyncio.gather(*(idempotency.once(REQUEST, work) for _ in range(5)))

    assert {answer.reply for answer in answers} == {b"reply 1"}
    assert sorted(answer.is_replayed for answer in answers) == [False, True, True, True, True]


async def test_another_body_is_refused_while_the_first_still_runs(replies: InMemoryReplies, work: Work) -> None:
    idempotency = one(replies)
    work.go.clear()
    first = asyncio.create_task(idempotency.once(REQUEST, work))
    await asyncio.sleep(0.01)

    with pytest.raises(IdempotencyMismatch):
        await idempotency.once(replace(REQUEST, fingerprint=fingerprint(b"other")), work)
    work.go.set()

    assert (await first).reply == b"reply 1"


async def test_a_repeat_waits_no_longer_than_its_patience(
    replies: InMemoryReplies, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", module.PATIENCE / 15)
    work.go.clear()
    first = asyncio.create_task(one(replies).once(REQUEST, work))
    await asyncio.sleep(0.01)

    began = asyncio.get_running_loop().time()
    with pytest.raises(IdempotencyConflict) as conflict:
        await Idempotency(replies, "two").once(REQUEST, work)

    assert conflict.value.retry_after == 1
    assert 0.09 < asyncio.get_running_loop().time() - began < 1
    work.go.set()
    await first


@pytest.mark.parametrize("error", [ConnectionError, asyncio.CancelledError])
async def test_what_failed_or_was_given_up_may_be_sent_again(
    replies: InMemoryReplies, work: Work, error: type[BaseException]
) -> None:
    async def fail(_work_id: UUID) -> bytes:
        raise error

    with pytest.raises(error):
        await one(replies).once(REQUEST, fail)

    assert await one(replies).once(REQUEST, work) == Answered(b"reply 1", is_replayed=False)


async def test_what_this_process_lost_is_taken_over_by_itself(replies: InMemoryReplies, work: Work) -> None:
    lost = Record(REQUEST.fingerprint, new_id(), "one")
    await replies.claim(REQUEST, lost)

    await one(replies).once(REQUEST, work)

    assert work.ids == [lost.work_id]


async def test_whoever_was_taken_over_does_not_forget_what_the_other_made(replies: InMemoryReplies) -> None:
    mine = Record(REQUEST.fingerprint, new_id(), "one")
    await replies.claim(REQUEST, mine)
    await replies.finish(REQUEST, replace(mine, holder="two", reply=b"made"))

    await replies.release(REQUEST, mine)

    known = await replies.claim(REQUEST, mine)
    assert known is not None
    assert known.reply == b"made"


async def test_only_a_conflict_is_waited_out() -> None:
    tries = 0

    async def claim() -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise IdempotencyConflict
        if tries == 3:
            return tries
        raise IdempotencyMismatch

    assert await module.patiently(claim) == 3
    with pytest.raises(IdempotencyMismatch):
        await module.patiently(claim)
    assert tries == 4
