#!/usr/bin/env python3
"""Cut the part of requirements.lock that one service needs, so that its image holds no engine and no developer tool.

`python select_requirements.py chat-service < requirements.lock > service.lock`. The lock says under each package who
asked for it (`# via`); what the service or `shared` asked for, directly or through others, is kept with its hashes.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PINNED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==")
VIA = re.compile(r"^    #(?: via)?\s+(?P<name>[a-z0-9][a-z0-9._-]*)$")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of the lock: its lines, hashes included, and who asked for it."""

    name: str
    lines: tuple[str, ...]
    asked_by: frozenset[str]


def pins_in(lock: Iterable[str]) -> Iterator[Pin]:
    """The packages of a lock; one name may appear twice with different markers."""
    block: list[str] = []
    for line in lock:
        if PINNED.match(line) and block:
            yield _pin(block)
            block = []
        if block or PINNED.match(line):
            block.append(line.rstrip("\n"))
    if block:
        yield _pin(block)


def _pin(block: list[str]) -> Pin:
    found = PINNED.match(block[0])
    asked_by = frozenset(via["name"] for line in block if (via := VIA.match(line)))
    return Pin(name=found["name"] if found else "", lines=tuple(block), asked_by=asked_by)


def needed_by(service: str, pins: Iterable[Pin]) -> list[Pin]:
    """The pins that `service` needs.

    Raises:
        LookupError: nothing in the lock was asked for by this service, so the name is wrong.
    """
    every = list(pins)
    member = f"multidb-{service}"
    if not any(member in pin.asked_by for pin in every):
        message = f"requirements.lock knows no service named {service!r}"
        raise LookupError(message)
    wanted = {member, "multidb-shared"}
    while grown := {pin.name for pin in every if pin.asked_by & wanted} - wanted:
        wanted |= grown
    return [pin for pin in every if pin.name in wanted]


def main() -> None:
    """Filter standard input to standard output for the service named on the command line."""
    try:
        selected = needed_by(sys.argv[1], pins_in(sys.stdin))
    except LookupError as error:
        sys.exit(str(error))
    sys.stdout.writelines(f"{line}\n" for pin in selected for line in pin.lines)


if __name__ == "__main__":
    main()
