"""Wrong logins reach the audit log after the reply."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from auth_service.domain.audit import REGISTERED, AuditEvent
from auth_service.refusals import LOST, Refusals
from auth_service.testing import NOON, MemoryAudit, Watch
from shared.errors import CapabilityUnavailable
from shared.ids import new_id

ACME = new_id()


def event(number: int) -> AuditEvent:
    return AuditEvent("login.refused", None, str(number))


class Away(MemoryAudit):
    """An audit log that is away for a while."""

    is_away = True

    async def append(self, *entry) -> None:  # type: ignore[no-untyped-def] # noqa: ANN002 - passed on
        if self.is_away:
            raise CapabilityUnavailable(capability="accounts")
        await super().append(*entry)


@pytest.fixture
def lost() -> Iterator[list[float]]:
    before = LOST._value.get()
    return [before]


async def subjects(audit: MemoryAudit) -> list[str | None]:
    return [entry.subject for entry in await audit.entries(ACME, None) if entry.action == "login.refused"]


async def test_an_entry_says_when_it_happened_not_when_it_was_written() -> None:
    audit, watch = MemoryAudit(), Watch()
    await audit.append(ACME, AuditEvent(REGISTERED), NOON)
    refusals = Refusals(audit, watch)

    refusals.note(ACME, event(1))
    watch.forward(timedelta(seconds=5))
    await refusals.write()

    assert [entry.occurred_at for entry in await audit.entries(ACME, 1)] == [NOON]
    assert refusals.waiting == []


async def test_what_cannot_be_written_now_is_written_later_in_order() -> None:
    audit = Away()
    refusals = Refusals(audit, Watch())
    for number in range(3):
        refusals.note(ACME, event(number))

    with pytest.raises(CapabilityUnavailable):
        await refusals.write()
    audit.is_away = False
    await audit.append(ACME, AuditEvent(REGISTERED), NOON)
    await refusals.write()

    assert await subjects(audit) == ["0", "1", "2"]


async def test_what_finds_no_room_is_counted(lost: list[float]) -> None:
    refusals = Refusals(MemoryAudit(), Watch(), room=2)

    for number in range(5):
        refusals.note(ACME, event(number))

    assert len(refusals.waiting) == 2
    assert LOST._value.get() - lost[0] == 3


async def test_the_end_of_the_process_writes_what_is_left_or_counts_it(lost: list[float]) -> None:
    audit = Away()
    refusals = Refusals(audit, Watch())
    refusals.note(ACME, event(1))

    await refusals.close()
    assert LOST._value.get() - lost[0] == 1

    audit.is_away = False
    await audit.append(ACME, AuditEvent(REGISTERED), NOON)
    await refusals.close()
    assert await subjects(audit) == ["1"]
