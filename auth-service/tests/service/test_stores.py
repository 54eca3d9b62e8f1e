"""What each store promises, in memory as in PostgreSQL: the domain's own tests lean on it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from auth_service.domain.audit import GENESIS, REGISTERED, AuditEvent
from auth_service.domain.audit_check import Verification
from auth_service.domain.keys import KeySafe
from auth_service.domain.quota import FORGOTTEN
from auth_service.domain.throttle import Count, Limit
from shared.errors import EmailTaken
from shared.ids import new_id

MINUTE = timedelta(minutes=1)
THREE = Limit("things", 3, MINUTE, timedelta(minutes=5))
RIGHT, HOME, FAR = "SecurePass123!", "192.0.2.1", "203.0.113.9"


def count(limit: Limit = THREE) -> Count:
    return Count(new_id().bytes, limit)


async def test_hits_are_counted_until_the_limit_and_again_when_the_window_has_passed(stores: Any) -> None:
    one, start = count(), stores.watch.now

    taken = [await stores.throttles.take([one], start + timedelta(seconds=second)) for second in range(5)]

    assert taken == [True, True, True, False, False]
    assert list((await stores.throttles.hits([one.key]))[one.key]) == [start + timedelta(seconds=n) for n in range(3)]
    assert await stores.throttles.take([one], start + MINUTE)
    assert not await stores.throttles.take([one], start + MINUTE)


async def test_of_two_counts_none_is_taken_when_one_refuses(stores: Any) -> None:
    full, free, now = count(), count(), stores.watch.now
    for _ in range(3):
        assert await stores.throttles.take([full], now)

    assert not await stores.throttles.take([free, full], now)

    assert list((await stores.throttles.hits([free.key])).get(free.key, ())) == []


async def test_of_many_hits_at_once_no_more_than_the_limit_are_taken(stores: Any) -> None:
    one = count()

    taken = await asyncio.gather(*(stores.throttles.take([one], stores.watch.now) for _ in range(10)))

    assert sum(taken) == 3


async def test_hits_are_remembered_for_a_longer_window_of_the_same_subject(stores: Any) -> None:
    short, now = count(), stores.watch.now
    long = Count(short.key, Limit("things", 3, timedelta(minutes=5), timedelta(minutes=5)))
    for _ in range(3):
        await stores.throttles.take([short], now)

    assert not await stores.throttles.take([long], now + 2 * MINUTE)
    assert await stores.throttles.take([short], now + 2 * MINUTE)


async def test_entries_appended_at_once_make_one_chain(stores: Any) -> None:
    organization_id = await stores.organization()

    events = [AuditEvent("tested", None, str(number)) for number in range(8)]
    await asyncio.gather(*(stores.audit.append(organization_id, event, stores.watch.now) for event in events))

    entries = await stores.audit.entries(organization_id, None)
    assert [entry.sequence for entry in entries] == list(range(1, 10))
    assert {entry.subject for entry in entries[1:]} == {str(number) for number in range(8)}
    assert await Verification(stores.audit, {}).check(organization_id) is None


async def test_a_chain_is_read_on_from_where_it_was_read_to(stores: Any) -> None:
    organization_id = await stores.organization()
    await stores.audit.append(organization_id, AuditEvent("tested"), stores.watch.now)

    first, second = await stores.audit.entries(organization_id, None)

    assert first.hash == first.sealed_after(GENESIS)
    assert [entry.sequence for entry in await stores.audit.entries(organization_id, 1)] == [2]
    assert list(await stores.audit.entries(organization_id, 2)) == []
    head = await stores.audit.head(organization_id)
    assert (head.sequence, head.hash) == (2, second.hash)


async def test_every_organization_is_told_once_in_order(stores: Any) -> None:
    made = [await stores.organization() for _ in range(3)]

    told = [one async for one in stores.audit.organizations()]

    assert told == sorted(set(told))
    assert set(made) <= set(told)


async def test_a_chain_begins_with_the_registration_alone(stores: Any) -> None:
    organization_id = await stores.organization()

    await stores.audit.append(organization_id, AuditEvent(REGISTERED), stores.watch.now)

    assert [entry.sequence for entry in await stores.audit.entries(organization_id, None)] == [1, 2]
    assert await stores.audit.unchained(organization_id) == 0


async def test_an_account_is_found_by_its_address_and_known_from_where_it_was_used(stores: Any) -> None:
    ada = await stores.newcomer(address=HOME)
    home, far = b"1" * 32, b"2" * 32
    session, _ = stores.sessions.prepare(ada.profile.organization_id, ada.profile.user_id)

    assert await stores.accounts_store.find_login(f"{new_id()}@example.com", home) is None
    before = await stores.accounts_store.find_login(ada.email, home)
    profile = await stores.accounts_store.open_session(session, home, AuditEvent("session.opened"))
    after = await stores.accounts_store.find_login(ada.email, home)
    elsewhere = await stores.accounts_store.find_login(ada.email, far)

    assert profile == ada.profile
    assert [one.is_known_here for one in (before, after, elsewhere)] == [False, True, False]
    assert after.organization_id == ada.profile.organization_id
    assert after.password_hash not in {"", RIGHT}


async def test_an_organization_is_found_by_its_id_alone(stores: Any) -> None:
    ada = await stores.newcomer()

    found = await stores.accounts_store.find_organization(ada.profile.organization_id)

    assert (found.id, found.name, found.plan, found.sample) == (ada.profile.organization_id, "Acme", "free", True)
    assert await stores.accounts_store.find_organization(new_id()) is None


async def test_a_taken_address_writes_nothing(stores: Any) -> None:
    ada = await stores.newcomer()
    known = [one async for one in stores.audit.organizations()]

    with pytest.raises(EmailTaken):
        await stores.newcomer(ada.email)

    assert [one async for one in stores.audit.organizations()] == known


async def test_of_several_first_keys_one_is_kept(empty_stores: Any) -> None:
    keys, now = empty_stores.keys, empty_stores.watch.now
    for known in await keys.all():
        await keys.remove([known.id])
    safe = KeySafe(b"a secret for tests only, never used outside them")

    await asyncio.gather(*(keys.add_first(safe.make(now, now)) for _ in range(4)))
    (first,) = await keys.all()
    second = safe.make(now, now)
    await keys.add(second)

    assert {key.id for key in await keys.all()} == {first.id, second.id}
    await keys.remove([first.id, "unknown"])
    assert [key.id for key in await keys.all()] == [second.id]


async def test_a_reservation_that_nobody_settled_in_a_week_is_given_back(stores: Any) -> None:
    organization_id = await stores.organization()
    await stores.quota.reserve(organization_id, "tasks", "forgotten")
    assert (await stores.quota.usage(organization_id)).tasks.used == 1

    stores.watch.forward(FORGOTTEN)
    await stores.quota_store.close_expired(stores.watch.now)
    assert (await stores.quota.usage(organization_id)).tasks.used == 1
    stores.watch.forward(timedelta(seconds=1))
    await stores.quota_store.close_expired(stores.watch.now)

    assert (await stores.quota.usage(organization_id)).tasks.used == 0
