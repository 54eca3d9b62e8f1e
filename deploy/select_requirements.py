#!/usr/bin/env python3
"""Cut the part of requirements.lock that one service needs: its image holds its own drivers, no tool and no engine.

`python select_requirements.py chat-service < requirements.lock > service.lock`, where the project's root is the current
folder. What the service's pyproject.toml asks for, the extras of `shared` that it names included, is kept with its
hashes, and so is what those packages need: the lock says under each one who asked for it (`# via`).
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PINNED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==")
REQUIREMENT = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)(?:\[(?P<extras>[^]]*)\])?")
SHARED = "multidb-shared"
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


def asked_for_by(service: str, root: Path) -> set[str]:
    """The packages that a service names, and those that `shared` names for everybody and for its extras.

    Raises:
        LookupError: there is no such service, or no such extra.
    """
    try:
        own = _project(root / service)
    except OSError as error:
        message = f"there is no service {service!r}"
        raise LookupError(message) from error
    shared = _project(root / "shared")
    wanted = dict(map(_parsed, own["dependencies"]))
    extras = wanted.pop(SHARED)
    common = [*shared["dependencies"], *(each for extra in extras for each in shared["optional-dependencies"][extra])]
    return wanted.keys() | dict(map(_parsed, common)).keys()


def _project(folder: Path) -> dict[str, Any]:
    return dict(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def _parsed(requirement: str) -> tuple[str, list[str]]:
    """Name and extras of a requirement as pyproject.toml writes it."""
    found = REQUIREMENT.match(requirement)
    if found is None:
        message = f"not a requirement: {requirement!r}"
        raise LookupError(message)
    return found["name"], [extra.strip() for extra in (found["extras"] or "").split(",") if extra]


def with_what_they_need(names: set[str], pins: Iterable[Pin]) -> list[Pin]:
    """The pins of these packages and of all that they need.

    Raises:
        LookupError: the lock knows one of them not, so it is older than pyproject.toml.
    """
    every = list(pins)
    if missing := names - {pin.name for pin in every}:
        message = f"requirements.lock lacks {', '.join(sorted(missing))}: run make lock"
        raise LookupError(message)
    wanted = set(names)
    while grown := {pin.name for pin in every if pin.asked_by & wanted} - wanted:
        wanted |= grown
    return [pin for pin in every if pin.name in wanted]


def main() -> None:
    """Filter standard input to standard output for the service named on the command line."""
    try:
        selected = with_what_they_need(asked_for_by(sys.argv[1], Path()), pins_in(sys.stdin))
    except LookupError as error:
        sys.exit(str(error))
    sys.stdout.writelines(f"{line}\n" for pin in selected for line in pin.lines)


if __name__ == "__main__":
    main()
