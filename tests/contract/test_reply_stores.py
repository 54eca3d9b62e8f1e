"""Every place where keyed replies are kept makes the same promises, the twin in memory included."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from auth_service.settings import AuthSettings
from auth_service.store.replies import PostgresReplies
from auth_service.testing import Watch
from chat_service.settings import ChatSettings
from chat_service.store.keyed_replies import StoredReplies
from knowledge_service.domain.keyed import KeptReply
from knowledge_service.settings import KnowledgeSettings
from knowledge_service.store import keyed_replies
from knowledge_service.store.keyed_replies import CqlKeyedReplies
from local_stack.engines.running import EngineAddresses
from local_stack.engines.temporary import CqlKeyspace, PostgresDatabase, temporary_keyspace
from shared.background import Background, start_all
from shared.cql import Cql
from shared.errors import IdempotencyConflict, IdempotencyMismatch
from shared.idempotency import ABANDONED, Answered, Idempotency, KeyedRequest, Record, ReplyStore, fingerprint
from shared.ids import new_id
from shared.migrations_cql import migrate_cql
from shared.migrations_postgres import migrate_postgres
from shared.postgres import Postgres
from shared.redis import RedisStore
from shared.testing import KEY, InMemoryReplies, eventually

pytestmark = pytest.mark.engines

SECRET = SecretStr("a secret for tests only, 32 characters")


@dataclass
class Place:
    """`open` gives a store as another process would have it; `die` lets the process that holds a key be dead."""

    open: Callable[[str], ReplyStore]
    die: Callable[[str, KeyedRequest], Awaitable[None]]


@asynccontextmanager
async def memory() -> AsyncIterator[Place]:
    kept = InMemoryReplies()

    async def die(holder: str, _request: KeyedRequest) -> None:
        kept.dead.add(holder)

    yield Place(lambda _holder: kept, die)


@asynccontextmanager
async def auth(database: PostgresDatabase) -> AsyncIterator[Place]:
    settings = AuthSettings(
        internal_identity_key=SecretStr(KEY.decode()),
        cursor_key=SECRET,
        password_pepper=SECRET,
        signing_key_secret=SECRET,
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_user=database.user,
        postgres_password=SecretStr(database.password),
        postgres_db=database.name,
        postgres_app_user=database.app_user,
        postgres_app_password=SecretStr(database.app_password),
    )
    await migrate_postgres(settings, "auth_service")
    watch, postgres = Watch(), Postgres(settings, capability="accounts")

    async def die(_holder: str, _request: KeyedRequest) -> None:
        watch.forward(ABANDONED + timedelta(seconds=1))

    async with AsyncExitStack() as stack:
        await start_all(stack, postgres)
        yield Place(lambda _holder: PostgresReplies(postgres, watch), die)


def scylla(keyspace: CqlKeyspace, redis_data_url: str, state: Path) -> dict[str, object]:
    return {
        "internal_identity_key": SecretStr(KEY.decode()),
        "cursor_key": SECRET,
        "scylla_host": keyspace.host,
        "scylla_port": keyspace.port,
        "scylla_datacenter": keyspace.datacenter,
        "keyspace": keyspace.name,
        "redis_data_url": redis_data_url,
        "state_dir": state,
    }


@asynccontextmanager
async def chat(keyspace: CqlKeyspace, redis_data_url: str, state: Path) -> AsyncIterator[Place]:
    settings = ChatSettings(**scylla(keyspace, redis_data_url, state))
    migrate_cql(settings, "chat_service")
    cql, redis = Cql(settings, capability="conversations"), RedisStore(redis_data_url, capability="conversations")
    living: dict[str, Background] = {}

    async with AsyncExitStack() as stack:
        await start_all(stack, cql, redis)
        await eventually(lambda: cql.status == "ok")

        def open_(holder: str) -> ReplyStore:
            store = StoredReplies(redis, cql, holder)
            if holder not in living:
                living[holder] = Background()
                stack.push_async_callback(living[holder].close)
                living[holder].keep(store.keep_alive)
            return store

        async def die(holder: str, _request: KeyedRequest) -> None:
            await living[holder].close()
            store = StoredReplies(redis, cql, "another")

            async def is_dead() -> bool:
                return not await store.is_alive(holder)

            await eventually(is_dead)

        yield Place(open_, die)


@asynccontextmanager
async def knowledge(keyspace: CqlKeyspace, redis_data_url: str, state: Path) -> AsyncIterator[Place]:
    settings = KnowledgeSettings(**scylla(keyspace, redis_data_url, state))
    migrate_cql(settings, "knowledge_service")
    cql, redis = Cql(settings, capability="knowledge"), RedisStore(redis_data_url, capability="knowledge")

    async def die(_holder: str, request: KeyedRequest) -> None:
        await redis.run(lambda client: client.delete(keyed_replies._claim(request)))  # its time is over

    async with AsyncExitStack() as stack:
        await start_all(stack, cql, redis)
        await eventually(lambda: cql.status == "ok")
        yield Place(lambda _holder: CqlKeyedReplies(cql, redis), die)


@pytest.fixture(scope="module")
def keyspaces(engines: EngineAddresses) -> Iterator[dict[str, CqlKeyspace]]:
    """One for each of the two services, whose tables have the same name."""
    assert engines.cql is not None
    with temporary_keyspace(engines.cql) as one, temporary_keyspace(engines.cql) as other:
        yield {"chat": one, "knowledge": other}


@pytest.fixture(params=["memory", "auth", "chat", "knowledge"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "memory":
        made = memory()
    elif request.param == "auth":
        made = auth(request.getfixturevalue("postgres_database"))
    else:
        make = {"chat": chat, "knowledge": knowledge}[request.param]
        keyspace = request.getfixturevalue("keyspaces")[request.param]
        made = make(keyspace, request.getfixturevalue("redis_data_url"), tmp_path)
    async with made as opened:
        yield opened


@pytest.fixture
def request_() -> KeyedRequest:
    """As auth-service hashes it, which is a key like any other for the rest."""
    return KeyedRequest(str(new_id()), str(new_id()), "POST /x", fingerprint(new_id().bytes), fingerprint(b"body"))


class Work:
    """Counts its runs; `go` lets them end."""

    def __init__(self) -> None:
        self.runs = 0
        self.ids: list[UUID] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, work_id: UUID) -> bytes:
        self.runs += 1
        self.ids.append(work_id)
        await self.go.wait()
        return KeptReply(201, "/x", b"reply %d\n\x00\xff" % self.runs).packed()


def process(place: Place, holder: str) -> Idempotency:
    return Idempotency(place.open(holder), holder)


async def test_a_repeat_gets_the_identical_reply_from_every_process(place: Place, request_: KeyedRequest) -> None:
    work = Work()

    first = await process(place, "one").once(request_, work)
    again = [await process(place, holder).once(request_, work) for holder in ("one", "two")]

    assert not first.is_replayed
    assert again == [Answered(first.reply, is_replayed=True)] * 2
    assert work.runs == 1


async def test_many_at_once_in_two_processes_are_one_run(place: Place, request_: KeyedRequest) -> None:
    work, both = Work(), (process(place, "one"), process(place, "two"))

    answers = await asyncio.gather(*(each.once(request_, work) for each in both * 3))

    assert work.runs == 1
    assert len({answer.reply for answer in answers}) == 1
    assert sum(not answer.is_replayed for answer in answers) == 1


async def test_another_request_under_the_key_is_refused_in_every_process(place: Place, request_: KeyedRequest) -> None:
    work = Work()
    await process(place, "one").once(request_, work)

    for holder in ("one", "two"):
        with pytest.raises(IdempotencyMismatch):
            await process(place, holder).once(replace(request_, fingerprint=fingerprint(b"other")), work)
    assert work.runs == 1


async def test_another_key_is_another_request(place: Place, request_: KeyedRequest) -> None:
    work, one = Work(), process(place, "one")

    await one.once(request_, work)
    other = await one.once(replace(request_, key=fingerprint(b"another key"), user_id="other"), work)

    assert not other.is_replayed
    assert work.runs == 2


async def test_a_request_that_failed_may_be_sent_again_anywhere(place: Place, request_: KeyedRequest) -> None:
    async def fail(_work_id: UUID) -> bytes:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await process(place, "one").once(request_, fail)

    assert not (await process(place, "two").once(request_, Work())).is_replayed


async def test_a_repeat_waits_for_the_first_in_another_process(place: Place, request_: KeyedRequest) -> None:
    work = Work()
    work.go.clear()
    first = asyncio.create_task(process(place, "one").once(request_, work))
    await eventually(lambda: work.runs == 1)
    repeat = asyncio.create_task(process(place, "two").once(request_, work))

    await asyncio.sleep(0.2)
    assert not repeat.done()
    work.go.set()

    assert await repeat == Answered((await first).reply, is_replayed=True)


async def test_a_first_that_takes_too_long_is_a_conflict_in_another_process(
    place: Place, request_: KeyedRequest
) -> None:
    work = Work()
    work.go.clear()
    first = asyncio.create_task(process(place, "one").once(request_, work))
    await eventually(lambda: work.runs == 1)

    with pytest.raises(IdempotencyConflict):
        await process(place, "two").once(request_, work)
    work.go.set()

    assert not (await first).is_replayed


async def test_the_work_of_a_process_that_died_is_done_by_the_next(place: Place, request_: KeyedRequest) -> None:
    assert await place.open("one").claim(request_, Record(request_.fingerprint, new_id(), "one")) is None
    await place.die("one", request_)

    answer = await process(place, "two").once(request_, Work())

    assert not answer.is_replayed
    assert (await process(place, "three").once(request_, Work())) == Answered(answer.reply, is_replayed=True)
