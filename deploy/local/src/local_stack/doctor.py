"""What `faq doctor` looks at: everything the stack needs of this machine, with the fix for what is missing."""

import json
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import psutil

from local_stack import stack
from local_stack.control import NotRunning
from local_stack.desired import DesiredState
from local_stack.engines.engine import EngineUnavailable
from local_stack.engines.jars import FIX, jar_folder, locked_jars, missing_jars
from local_stack.engines.java import find_java
from local_stack.engines.postgresql import binary_folder
from local_stack.engines.unprivileged import NoUnprivilegedAccount, unprivileged_account
from local_stack.engines.valkey import server_binary
from local_stack.home import Home
from local_stack.plan import external_engines
from local_stack.ports import obstacle

ASKED = 2.0  # seconds the gateway may take to say how far its clock is off
SKEW_TOLERATED = timedelta(seconds=1)  # a local stack has one clock, an engine elsewhere should keep NTP's time
MEMORY_NEEDED = 1_800 * 1024 * 1024
DISK_NEEDED = 1_000_000_000
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    is_fine: bool
    detail: str
    fix: str = ""


def examine(home: Home, desired: DesiredState) -> Iterator[Finding]:
    """Everything, in the order a start needs it."""
    external = external_engines(desired.settings)
    yield _python()
    yield _memory()
    yield _disk(home)
    yield from _engines(external)
    yield from _running(home, desired)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= OLDEST_PYTHON, version, "Install Python 3.11 or newer")


def _memory() -> Finding:
    available = psutil.virtual_memory().available
    detail = f"{available / 1e9:.1f} GB available, about 1.8 GB needed"
    return Finding(
        "memory", available > MEMORY_NEEDED, detail, "Close something, or name engines on other machines in .env"
    )


def _disk(home: Home) -> Finding:
    folder = next(parent for parent in (home.folder, *home.folder.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    return Finding(
        "disk",
        free > DISK_NEEDED,
        f"{free / 1e9:.1f} GB free in {folder}",
        "Free a gigabyte there, or set MULTIDB_HOME",
    )


def _engines(external: dict[str, str]) -> Iterator[Finding]:
    checks: dict[str, Callable[[], str]] = {
        "postgresql": _postgresql,
        "redis-cache": lambda: str(server_binary()),
        "redis-data": lambda: str(server_binary()),
        "cassandra": _cassandra,
    }
    for name, check in checks.items():
        if name in external:
            yield Finding(name, is_fine=True, detail=f"yours, {external[name]}")
            continue
        try:
            yield Finding(name, is_fine=True, detail=check())
        except EngineUnavailable as error:
            yield Finding(name, is_fine=False, detail=error.missing, fix=error.fix)
        except NoUnprivilegedAccount as error:
            yield Finding(name, is_fine=False, detail=str(error), fix="Run as a normal user")


def _postgresql() -> str:
    folder = binary_folder()
    unprivileged_account()
    return str(folder)


def _cassandra() -> str:
    java = find_java()
    missing = missing_jars(jar_folder())
    if missing:
        raise EngineUnavailable(
            f"{len(missing)} of {len(locked_jars())} jars of Apache Cassandra are not fetched yet", FIX
        )
    return f"{java}, {jar_folder()}"


def _running(home: Home, desired: DesiredState) -> Iterator[Finding]:
    try:
        status = stack.status(home)
    except NotRunning:
        yield from _ports(desired)
        return
    for row in status["processes"]:
        fine = row["state"] in {"ready", "starting"}
        name = row["name"] if row["replica"] == 1 else f"{row['name']}-{row['replica']}"
        yield Finding(name, fine, row["state"], f"faq logs {name}; faq start {name}")
    for problem in status["problems"]:
        yield Finding("stack", is_fine=False, detail=problem, fix="")
    if status["gateway"]:
        yield from _clocks(status["gateway"])


def _ports(desired: DesiredState) -> Iterator[Finding]:
    """Whether the gateway can listen, and whether `localhost` would lead to it: browsers try IPv6 first."""
    host, port = desired.gateway_host, desired.gateway_port
    another = f"Stop what has it, or set GATEWAY_PORT={port + 1}"
    why = obstacle(port, host)
    yield Finding("gateway", why is None, why or f"port {port} is free on {host}", another)
    if host == "127.0.0.1" and why is None and (other := obstacle(port, "::1")) and "taken" in other:
        detail = f"{other} on ::1, so http://localhost:{port} may lead there"
        yield Finding("localhost", is_fine=False, detail=detail, fix=f"Use http://127.0.0.1:{port}. {another}")


def _clocks(gateway: str) -> Iterator[Finding]:
    """How far each service's clock is from its engine's, where it knows; the gateway's health has them all."""
    skews = skews_at(gateway)
    if not skews:
        return
    name, skew = max(skews.items(), key=lambda pair: abs(pair[1]))
    direction = "behind" if skew < 0 else "ahead of"
    detail = f"{abs(skew)} ms {direction} its engine at most ({name})"
    yield Finding("clocks", abs(skew) <= SKEW_TOLERATED.total_seconds() * 1000, detail, "Set the clocks by NTP")


def skews_at(gateway: str) -> dict[str, int]:
    """Milliseconds by which the clock of each service is ahead of its engine's; without those that do not know."""
    try:
        with urllib.request.urlopen(f"{gateway}/health", timeout=ASKED) as reply:  # noqa: S310 - our own address
            services = dict(json.load(reply)["services"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    found = {name: service.get("clock_skew_ms") for name, service in services.items() if isinstance(service, dict)}
    return {name: skew for name, skew in found.items() if isinstance(skew, int)}
