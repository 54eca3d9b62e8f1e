import asyncio
from datetime import timedelta

import pytest

from chat_service.domain.quota import Quota, UsageEvent
from chat_service.testing import Clock, InMemoryAccounts, InMemoryUsage
from shared.errors import CapabilityUnavailable, QuotaExceeded
from shared.ids import new_id

ORGANIZATION = "organization"


def a_quota(accounts: InMemoryAccounts, clock: Clock | None = None) -> Quota:
    return Quota(accounts, InMemoryUsage(), clock or Clock())


async def answer(quota: Quota) -> int:
    unit = await quota.take(ORGANIZATION)
    return unit.burn(str(new_id())).used


async def test_messages_burn_a_lease_without_asking_each_time() -> None:
    accounts = InMemoryAccounts()
    quota = a_quota(accounts)

    used = [await answer(quota) for _ in range(10)]

    assert used == list(range(1, 11))
    assert accounts.calls == 1


async def test_what_was_burned_reaches_the_ledger_once() -> None:
    accounts = InMemoryAccounts()
    quota = a_quota(accounts)
    await answer(quota)

    await quota.settle()
    await quota.settle()

    assert len(accounts.ledger[ORGANIZATION]) == 1
    assert quota.usage(ORGANIZATION).used == 1


async def test_a_released_unit_is_not_charged() -> None:
    accounts = InMemoryAccounts()
    quota = a_quota(accounts)

    (await quota.take(ORGANIZATION)).release()
    await quota.settle()

    assert not accounts.ledger[ORGANIZATION]


async def test_a_spent_plan_is_refused_with_the_time_it_resets() -> None:
    accounts = InMemoryAccounts(limit=1)
    quota = a_quota(accounts)
    await answer(quota)
    await quota.settle()

    with pytest.raises(QuotaExceeded) as refusal:
        await quota.take(ORGANIZATION)

    assert refusal.value.extra["resets_at"]
    assert refusal.value.retry_after


async def test_a_race_over_two_replicas_charges_exactly_the_limit() -> None:
    accounts = InMemoryAccounts(limit=100)
    replicas = [Quota(accounts, InMemoryUsage()) for _ in range(2)]
    settling = [asyncio.create_task(quota.keep_settling()) for quota in replicas]
    refused = 0

    async def client(number: int) -> None:
        nonlocal refused
        try:
            await answer(replicas[number % 2])
        except QuotaExceeded:
            refused += 1

    await asyncio.gather(*(client(number) for number in range(130)))
    for task in settling:
        task.cancel()
    for quota in replicas:
        await quota.close()

    assert refused == 30
    assert len(accounts.ledger[ORGANIZATION]) == 100


async def test_while_the_accounts_are_away_a_lease_is_burned_past_its_expiry() -> None:
    accounts, clock = InMemoryAccounts(lease=timedelta(seconds=60)), Clock()
    quota = a_quota(accounts, clock)
    await answer(quota)
    accounts.is_away = True
    clock.now += 120

    assert [await answer(quota) for _ in range(3)] == [2, 3, 4]
    assert quota.is_degraded


async def test_without_a_unit_nobody_is_admitted_while_the_accounts_are_away() -> None:
    accounts = InMemoryAccounts()
    accounts.is_away = True

    with pytest.raises(CapabilityUnavailable) as refusal:
        await a_quota(accounts).take(ORGANIZATION)

    assert refusal.value.capability == "accounts"


async def test_units_that_are_held_go_back_at_the_end() -> None:
    accounts = InMemoryAccounts(limit=1_000)
    quota = a_quota(accounts)
    await answer(quota)

    await quota.close()

    assert accounts.leased(ORGANIZATION) == 0
    assert len(accounts.ledger[ORGANIZATION]) == 1


async def test_usage_that_cannot_be_reported_stays_in_the_journal() -> None:
    accounts, journal = InMemoryAccounts(), InMemoryUsage()
    quota = Quota(accounts, journal)
    await answer(quota)
    accounts.is_away = True

    with pytest.raises(CapabilityUnavailable):
        await quota.settle()

    assert len(journal.events) == 1
    assert isinstance(journal.events[0], UsageEvent)
