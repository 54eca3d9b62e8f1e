"""What the check of the audit log finds, over a log in memory that is tampered with by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.domain.audit import GENESIS, REGISTERED, AuditEvent, AuditHead
from auth_service.domain.audit_check import Break, ExportChanged, Verification, sealed, unsealed
from auth_service.testing import NOON, MemoryAudit
from shared.ids import new_id

KEY = b"a key for tests only"
ACME = UUID("01900000-0000-7000-8000-000000000001")


async def log_of(entries: int = 6) -> MemoryAudit:
    audit = MemoryAudit()
    await audit.append(ACME, AuditEvent(REGISTERED), NOON)
    for number in range(entries - 1):
        await audit.append(ACME, AuditEvent("tested", None, str(number)), NOON + timedelta(seconds=number))
    return audit


def change(audit: MemoryAudit, sequence: int) -> None:
    audit.chains[ACME][sequence] = replace(audit.chains[ACME][sequence], subject="forged")


def insert(audit: MemoryAudit, sequence: int) -> None:
    audit.chains[ACME][sequence] = replace(audit.chains[ACME][6], sequence=sequence)


def extend_without_head(audit: MemoryAudit) -> None:
    entry = audit.heads[ACME].append(AuditEvent("forged"), NOON)
    audit.chains[ACME][7] = entry


def begin_anew(audit: MemoryAudit) -> None:
    entry = AuditHead(ACME).append(AuditEvent("session.opened"), NOON)
    audit.chains[ACME] = {1: entry}
    audit.heads[ACME] = AuditHead(ACME, 1, entry.hash)


def remove_all(audit: MemoryAudit) -> None:
    audit.chains[ACME].clear()
    del audit.heads[ACME]


TAMPERINGS: dict[str, tuple[Callable[[MemoryAudit], object], Break]] = {
    "changed": (lambda audit: change(audit, 3), Break(ACME, 3, "entry changed")),
    "removed": (lambda audit: audit.chains[ACME].pop(3), Break(ACME, 3, "entry missing")),
    "first removed": (lambda audit: audit.chains[ACME].pop(1), Break(ACME, 1, "entry missing")),
    "last removed": (
        lambda audit: audit.chains[ACME].pop(6),
        Break(ACME, 5, "chain ends elsewhere than its head says"),
    ),
    "at 0": (lambda audit: insert(audit, 0), Break(ACME, 1, "entry out of place")),
    "below 0": (lambda audit: insert(audit, -9), Break(ACME, 1, "entry out of place")),
    "behind the head": (lambda audit: insert(audit, 7), Break(ACME, 7, "entry changed")),
    "behind the head and sealed": (
        extend_without_head,
        Break(ACME, 7, "chain ends elsewhere than its head says"),
    ),
    "far beyond the head": (lambda audit: insert(audit, 10**12), Break(ACME, 7, "entry missing")),
    "head removed": (lambda audit: audit.heads.pop(ACME), Break(ACME, 6, "head missing")),
    "begun anew": (begin_anew, Break(ACME, 1, "chain begins elsewhere than at the registration")),
    "all removed": (remove_all, Break(ACME, 0, "chain missing")),
    "beside the chain": (
        lambda audit: audit.beside.append((ACME, AuditEvent("tested"))),
        Break(ACME, 6, "entries outside the chain"),
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_a_tampering_is_found_where_it_is(tampering: str) -> None:
    tamper, expected = TAMPERINGS[tampering]
    audit = await log_of()

    tamper(audit)

    assert await Verification(audit, {}).check(ACME) == expected


async def test_a_sound_chain_is_exported_with_its_last_entry() -> None:
    audit = await log_of()
    verification = Verification(audit, {})

    assert await verification.run() == 1

    assert verification.breaks == []
    assert verification.heads == {ACME: audit.heads[ACME]}


async def test_a_chain_that_grew_since_its_export_holds() -> None:
    audit = await log_of(3)
    exported = {ACME: audit.heads[ACME]}
    await audit.append(ACME, AuditEvent("tested"), NOON)

    assert await Verification(audit, exported).check(ACME) is None


async def test_a_chain_that_is_shorter_or_another_than_its_export_is_found() -> None:
    shorter, another = await log_of(3), await log_of(6)
    exported = {ACME: (await log_of(6)).heads[ACME]}
    begin = AuditHead(ACME).append(AuditEvent(REGISTERED, facts={"plan": "forged"}), NOON)
    head = AuditHead(ACME, 1, begin.hash)
    another.chains[ACME] = {1: begin}
    for number in range(2, 8):
        entry = head.append(AuditEvent("forged"), NOON)
        another.chains[ACME][number] = entry
        head = AuditHead(ACME, number, entry.hash)
    another.heads[ACME] = head

    assert await Verification(shorter, exported).check(ACME) == Break(ACME, 3, "chain is shorter than it was")
    assert await Verification(another, exported).check(ACME) == Break(ACME, 6, "chain is another than it was")


async def test_an_organization_that_only_the_export_knows_is_missing() -> None:
    gone = new_id()
    exported = {gone: AuditHead(gone, 4, b"x" * 32)}
    verification = Verification(await log_of(), exported)

    assert await verification.run() == 2

    assert verification.breaks == [Break(gone, 0, "chain missing")]
    assert verification.heads[gone] == exported[gone]


async def test_a_broken_chain_keeps_its_old_export() -> None:
    audit = await log_of(3)
    exported = {ACME: audit.heads[ACME]}
    await audit.append(ACME, AuditEvent("tested"), NOON)
    change(audit, 4)
    verification = Verification(audit, exported)

    await verification.run()

    assert verification.heads == exported


class Growing(MemoryAudit):
    """A log to which something is appended whenever its entries have been read."""

    async def head(self, organization_id: UUID) -> AuditHead | None:
        """The end, after one more entry."""
        if self.heads[organization_id].sequence < 9:
            await self.append(organization_id, AuditEvent("tested"), NOON)
        return await super().head(organization_id)


async def test_a_chain_that_grows_while_it_is_read_holds() -> None:
    audit = Growing()
    await audit.append(ACME, AuditEvent(REGISTERED), NOON)
    for _ in range(5):
        await audit.append(ACME, AuditEvent("tested"), NOON)

    assert await Verification(audit, {}).check(ACME) is None


async def test_a_chain_that_cannot_go_on_stops_nobody() -> None:
    audit = await log_of()
    insert(audit, 7)

    await audit.append(ACME, AuditEvent("session.opened"), NOON)

    assert [event.action for _, event in audit.beside] == ["session.opened"]


heads = st.builds(AuditHead, st.uuids(), st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))


@given(st.lists(heads, unique_by=lambda head: head.organization_id, max_size=5))
def test_exported_heads_are_read_as_they_were_written(given_heads: list[AuditHead]) -> None:
    assert unsealed(sealed(given_heads, KEY), KEY) == {head.organization_id: head for head in given_heads}


@given(st.data())
def test_no_byte_of_an_export_can_be_changed(data: st.DataObject) -> None:
    text = bytearray(sealed([AuditHead(ACME, 3, GENESIS)], KEY))
    at = data.draw(st.integers(0, len(text) - 2))
    text[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(ExportChanged):
        unsealed(bytes(text), KEY)


@pytest.mark.parametrize("text", [b"", b"\n", b"{}", b"[]", b"null\n", b'{"seal":1}\n', b"no json"])
def test_what_was_never_exported_is_refused(text: bytes) -> None:
    with pytest.raises(ExportChanged):
        unsealed(text, KEY)


def test_an_export_under_another_key_is_refused() -> None:
    with pytest.raises(ExportChanged):
        unsealed(sealed([AuditHead(ACME, 3, GENESIS)], KEY), b"another")
