"""Checking the audit log: every row against its chain, its head, and the heads exported when it was last checked."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import orjson

from auth_service.domain.audit import REGISTERED, AuditEntry, AuditHead

ROUNDS = 5
"""How often a chain that grows meanwhile is read on: each round takes in what the round before let be appended."""

UNCHAINED = "entries outside the chain"


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold, and how."""

    organization_id: UUID
    sequence: int
    reason: str


class ChainCheck:
    """Reads a whole chain, oldest entry first, and remembers the first place where it does not hold."""

    def __init__(self, organization_id: UUID, exported: AuditHead | None = None) -> None:
        self._organization_id = organization_id
        self._exported = exported
        self.read_to: int | None = None
        self.end = AuditHead(organization_id)
        self.found: Break | None = None

    def read(self, entries: Iterable[AuditEntry]) -> None:
        """The next entries, as they are stored."""
        for entry in entries:
            self.read_to = entry.sequence
            self._found(self.end.sequence + 1, self._fault_of(entry))
            self.end = AuditHead(self._organization_id, self.end.sequence + 1, entry.hash)

    def finish(self, head: AuditHead | None, unchained: int) -> Break | None:
        """The first place where the chain does not hold, given the head that is stored; None when all of it does."""
        return self._found(self.end.sequence, self._fault_at_the_end(head) or (UNCHAINED if unchained else None))

    def _fault_at_the_end(self, head: AuditHead | None) -> str | None:
        if self.read_to is None:
            return "chain missing"
        if head is None:
            return "head missing"
        if (head.sequence, head.hash) != (self.end.sequence, self.end.hash):
            return "chain ends elsewhere than its head says"
        if self._exported is not None and self._exported.sequence > self.end.sequence:
            return "chain is shorter than it was"
        return None

    def _fault_of(self, entry: AuditEntry) -> str | None:
        expected = self.end.sequence + 1
        if entry.sequence != expected:
            return "entry missing" if entry.sequence > expected else "entry out of place"
        if entry.hash != entry.sealed_after(self.end.hash):
            return "entry changed"
        if expected == 1 and entry.action != REGISTERED:
            return "chain begins elsewhere than at the registration"
        if self._exported is not None and self._exported.sequence == expected and self._exported.hash != entry.hash:
            return "chain is another than it was"
        return None

    def _found(self, sequence: int, fault: str | None) -> Break | None:
        if fault is not None and self.found is None:
            self.found = Break(self._organization_id, sequence, fault)
        return self.found


class Chains(Protocol):
    """Everything that is stored of the chains, trusted in nothing."""

    def organizations(self) -> AsyncIterator[UUID]:
        """Every organization there is, or that has a head or an entry."""
        ...

    async def entries(self, organization_id: UUID, after: int | None) -> Sequence[AuditEntry]:
        """The next entries with a sequence above `after`, whatever the head says; none at the end."""
        ...

    async def head(self, organization_id: UUID) -> AuditHead | None:
        """The end of a chain, as it is stored."""
        ...

    async def unchained(self, organization_id: UUID) -> int:
        """How many entries did not fit into the chain."""
        ...


class Verification:
    """Checks chains, and knows the heads of those that hold, to be exported for the next time."""

    def __init__(self, chains: Chains, exported: Mapping[UUID, AuditHead]) -> None:
        self._chains = chains
        self.heads = dict(exported)
        self.breaks: list[Break] = []

    async def run(self) -> int:
        """Check every organization, those that only the export knows included; how many there were."""
        unseen = set(self.heads)
        checked = 0
        async for organization_id in self._chains.organizations():
            unseen.discard(organization_id)
            await self.check(organization_id)
            checked += 1
        self.breaks += [Break(organization_id, 0, "chain missing") for organization_id in sorted(unseen)]
        return checked + len(unseen)

    async def check(self, organization_id: UUID) -> Break | None:
        """Check one chain; its head is exported anew only when it holds."""
        check = ChainCheck(organization_id, self.heads.get(organization_id))
        head = await self._read(check, organization_id)
        found = check.finish(head, await self._chains.unchained(organization_id))
        if found is None:
            self.heads[organization_id] = check.end
        else:
            self.breaks.append(found)
        return found

    async def _read(self, check: ChainCheck, organization_id: UUID) -> AuditHead | None:
        """The head is read after the entries: then an entry beyond it was not appended meanwhile but inserted."""
        head = None
        for _ in range(ROUNDS):
            while entries := await self._chains.entries(organization_id, check.read_to):
                check.read(entries)
            head = await self._chains.head(organization_id)
            if head is None or head.sequence <= check.end.sequence:
                break
        return head


class ExportChanged(Exception):
    """The exported heads are not what was exported."""


def sealed(heads: Iterable[AuditHead], key: bytes) -> bytes:
    """Heads as text that nobody without the key can change: a line for each, and a last one that seals them all."""
    lines = [
        orjson.dumps({"organization_id": str(head.organization_id), "sequence": head.sequence, "hash": head.hash.hex()})
        for head in sorted(heads, key=lambda head: head.organization_id)
    ]
    body = b"".join(line + b"\n" for line in lines)
    return body + orjson.dumps({"seal": _seal(body, key)}) + b"\n"


def unsealed(text: bytes, key: bytes) -> dict[UUID, AuditHead]:
    """The heads in such a text. Raises ExportChanged."""
    body, _, last = text.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n" if body else b""
    try:
        shown = orjson.loads(last)["seal"]
        if not hmac.compare_digest(_seal(body, key), shown):
            raise ExportChanged(ExportChanged.__doc__)
        heads = [orjson.loads(line) for line in body.splitlines()]
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise ExportChanged(ExportChanged.__doc__) from error
    return {
        UUID(one["organization_id"]): AuditHead(
            UUID(one["organization_id"]), one["sequence"], bytes.fromhex(one["hash"])
        )
        for one in heads
    }


def _seal(body: bytes, key: bytes) -> str:
    return hmac.digest(key, b"audit heads\x00" + body, hashlib.sha256).hex()
