"""The daemon behind `faq up`: brings all units to what is wanted and keeps them there."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from filelock import FileLock, Timeout

from local_stack import orphans
from local_stack.control import ControlServer
from local_stack.engines.engine import EngineUnavailable
from local_stack.fetcher import JarFetcher
from local_stack.home import Home
from local_stack.keyring import open_keyring
from local_stack.listeners import Listeners
from local_stack.logfiles import rotate
from local_stack.plan import Plan, Planner, PortTaken, check_gateway_port, check_wishes
from local_stack.state import RecordedProcess, load_state, save_state
from local_stack.status import describe
from local_stack.supervised import Supervised
from local_stack.units import Unit
from local_stack.wishes import TOOLING, BadWish, Wishes, base_environment

IDLE = timedelta(seconds=30)  # a supervisor that nobody gives work ends itself
SETTLE = timedelta(seconds=150)  # the longest `faq up` waits for processes
START = timedelta(seconds=60)
STOP = timedelta(seconds=19)  # everything, Cassandra last
GATEWAY_GRACE = timedelta(seconds=3)
SERVICE_GRACE = timedelta(seconds=5)
ENGINE_GRACE = timedelta(seconds=4)
ROTATION = 10.0
EVENTS_KEPT = 2_000

Event = dict[str, Any]


class AlreadyRunning(RuntimeError):
    """Another supervisor holds this MULTIDB_HOME."""


class UnknownName(LookupError):
    """No process of the stack has this name."""


class Supervisor:
    """All units of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.state = load_state(home)
        self.units: dict[str, Supervised] = {}
        self.plan: Plan | None = None
        self._wishes = Wishes()
        self._events: list[Event] = []
        self._base = base_environment()
        self._began = time.monotonic()
        self._over = asyncio.Event()
        self._fetcher: JarFetcher | None = None
        self._changing = asyncio.Lock()
        self._listeners = Listeners()

    async def run(self) -> None:
        """Serve commands until `down`."""
        loop = asyncio.get_running_loop()
        self._fetcher = JarFetcher(lambda text: loop.call_soon_threadsafe(self._tell, "cassandra", text, "progress"))
        loop.add_signal_handler(signal.SIGCHLD, self._notice_ends)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        found = await asyncio.to_thread(orphans.end_orphans, self.state.processes)
        if found:
            self._tell("supervisor", f"ended what a killed supervisor had left: {', '.join(found)}")
        self.state.processes = []
        async with ControlServer(self.home, self._handle) as server:
            self.state.control = server.address
            save_state(self.home, self.state)
            background = [asyncio.create_task(self._rotate()), asyncio.create_task(self._leave_when_idle())]
            await self._over.wait()
            await self._stop_all()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        self.state.control = {}
        save_state(self.home, self.state)

    # what can be asked for

    async def _handle(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        """The answers to one command; errors become an event with `error`."""
        commands: dict[str, Callable[[Mapping[str, Any]], AsyncIterator[Event]]] = {
            "up": self._up,
            "down": self._down,
            "stop": self._stop,
            "start": self._start,
            "restart": self._restart,
            "status": self._status,
        }
        try:
            async for event in commands[str(request["command"])](request):
                yield event
        except (BadWish, PortTaken, UnknownName, EngineUnavailable) as error:
            yield {"error": str(error)}

    async def _up(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        wishes = Wishes.from_json(request["wishes"])
        wishes = replace(wishes, replicas={**self._wishes.replicas, **wishes.replicas})
        position = len(self._events)
        async with self._changing:
            try:
                await self._apply(wishes)
            finally:
                if self.plan is None:
                    self._over.set()  # refused before anything was started: nothing to supervise
        assert self.plan is not None  # noqa: S101 - set by _apply
        yield {"plan": describe_plan(self.plan, self.home)}
        async for event in self._follow(position):
            yield event
        yield {"settled": True, "problems": self._problems(), "gateway": self.plan.gateway}

    async def _down(self, _: Mapping[str, Any]) -> AsyncIterator[Event]:
        position = len(self._events)
        self._over.set()
        while self.units:
            for event in self._events[position:]:
                yield event
            position = len(self._events)
            await asyncio.sleep(0.1)
        yield {"stopped": True}

    async def _stop(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        async with self._changing:
            await asyncio.gather(*(unit.stop() for unit in self._named(request["name"])))
        yield {"stopped": request["name"]}

    async def _start(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        async with self._changing:
            found = self._named(request["name"])
            for unit in found:
                unit.start()
            reached = await asyncio.gather(*(unit.reach(START) for unit in found))
        yield self._outcome(request["name"], found, reached)

    async def _restart(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        """One replica after another: the next goes down when the one before serves again."""
        async with self._changing:
            found = self._named(request["name"])
            reached = []
            for unit in found:
                await unit.stop(keep_listening=True)
                unit.start()
                reached.append(await unit.reach(START))
                if not reached[-1]:
                    break
        yield self._outcome(request["name"], found, reached)

    async def _status(self, _: Mapping[str, Any]) -> AsyncIterator[Event]:
        gateway = self.plan.gateway if self.plan else None
        external = self.plan.external if self.plan else {}
        uptime = time.monotonic() - self._began
        yield await asyncio.to_thread(describe, list(self.units.values()), gateway, external, uptime)

    # bringing units to what is wanted

    async def _apply(self, wishes: Wishes) -> None:
        """Plan anew; start what is new, restart what changed, stop what is gone."""
        check_wishes(wishes, self.state)
        for name in TOOLING:
            os.environ.pop(name, None)
        os.environ.update(wishes.tooling)
        running_port = self.state.gateway_port if "gateway" in self.units else None
        if wishes.gateway_port != running_port:
            check_gateway_port(wishes.gateway_port, wishes.settings.get("GATEWAY_HOST", "127.0.0.1"))
        planner = Planner(self.home, wishes, self.state, open_keyring(self.home), self._base)
        plan = await asyncio.to_thread(planner.plan, self.state.ports if self.units else {})
        self.plan, self._wishes = plan, wishes
        wanted = {unit.key: unit for unit in plan.units}
        for unit in plan.units:
            if unit.key not in self.units:
                self._add(unit)
        changed = [
            key
            for key, unit in self.units.items()
            if key in wanted and unit.unit.fingerprint != wanted[key].fingerprint
        ]
        for key in changed:
            await self._replace(wanted[key])
        for key in self.units.keys() - wanted.keys():
            await self.units.pop(key).stop()
        for key, unit in wanted.items():
            if key not in changed:
                self._begin(self.units[key], unit)
        save_state(self.home, self.state)

    def _add(self, unit: Unit) -> None:
        if unit.name == "cassandra" and self._fetcher:
            unit = replace(unit, prepare=self._fetcher.before(unit.prepare))
        self.units[unit.key] = Supervised(
            unit, report=self._on_report, unblocked=self._is_unblocked, listeners=self._listeners
        )

    async def _replace(self, unit: Unit) -> None:
        old = self.units[unit.key]
        await old.stop()
        self._add(unit)
        self._begin(self.units[unit.key], unit)
        await self.units[unit.key].reach(START)

    def _begin(self, supervised: Supervised, unit: Unit) -> None:
        if unit.kind == "one-shot" and self.state.finished.get(unit.key) == unit.stamp:
            supervised.skip()
        elif supervised.state != "ready":
            supervised.start()

    def _is_unblocked(self, unit: Unit) -> bool:
        """Whether everything the unit comes after is ready; one-shots also bring along what their engine lacks."""
        return all(key in self.units and self.units[key].state == "ready" for key in unit.after)

    def _on_report(self, supervised: Supervised, text: str) -> None:
        unit = supervised.unit
        if text == "started" and supervised.child:
            pid = supervised.child.pid
            kept = [entry for entry in self.state.processes if entry.key != unit.key]
            self.state.processes = [*kept, RecordedProcess(unit.key, pid, orphans.birth(pid))]
            save_state(self.home, self.state)
        if text == "ready" and unit.kind == "one-shot":
            self.state.finished[unit.key] = unit.stamp
            save_state(self.home, self.state)
        self._tell(
            unit.key, supervised.problem if text == "unavailable" and supervised.problem else text, kind=unit.kind
        )

    async def _stop_all(self) -> None:
        """The gateway, then services and one-shots, then engines, Cassandra last, within STOP."""
        end = time.monotonic() + STOP.total_seconds()
        if self._fetcher:
            self._fetcher.stop()
        groups = (
            (GATEWAY_GRACE, [unit for unit in self.units.values() if unit.unit.name == "gateway"]),
            (SERVICE_GRACE, [u for u in self.units.values() if u.unit.kind != "engine" and u.unit.name != "gateway"]),
            (ENGINE_GRACE, [u for u in self.units.values() if u.unit.kind == "engine" and u.unit.name != "cassandra"]),
        )
        for grace, group in groups:
            await self._stop_group(group, grace)
        cassandra = [unit for unit in self.units.values() if unit.unit.name == "cassandra"]
        await self._stop_group(cassandra, timedelta(seconds=max(2.0, end - time.monotonic())))
        self.state.processes = []
        self.units.clear()

    async def _stop_group(self, group: Iterable[Supervised], grace: timedelta) -> None:
        async def stop(unit: Supervised) -> None:
            was_running = unit.child is not None and unit.child.exit_code is None
            await unit.stop(grace)
            if was_running:
                self._tell(unit.unit.key, "stopped", kind=unit.unit.kind)

        await asyncio.gather(*(stop(unit) for unit in group))

    # looking and telling

    def _named(self, name: str) -> list[Supervised]:
        found = [unit for unit in self.units.values() if name in {unit.unit.name, unit.unit.key}]
        if not found:
            names = sorted({unit.unit.name for unit in self.units.values() if unit.unit.kind != "one-shot"})
            raise UnknownName(f"No process is called {name}; there are {', '.join(names)}")
        return found

    def _outcome(self, name: str, found: list[Supervised], reached: list[bool]) -> Event:
        if all(reached) and len(reached) == len(found):
            return {"ready": name}
        why = next((unit.problem for unit in found if unit.problem), None)
        return {"error": why or f"{name} did not become ready; see `faq logs {name}`"}

    def _problems(self) -> list[str]:
        """What is not as wanted, one line each; a unit that waits for a missing one is not named again."""
        lines = [unit.problem for unit in self.units.values() if unit.problem]
        lines += [
            f"{key} is not ready; see `faq logs {key}`"
            for key, unit in self.units.items()
            if unit.state != "ready" and not unit.problem and not self._is_waiting_for_lost(unit)
        ]
        return lines

    def _is_waiting_for_lost(self, supervised: Supervised) -> bool:
        behind = (self.units[key] for key in supervised.unit.after if key in self.units)
        return any(unit.has_given_up or self._is_waiting_for_lost(unit) for unit in behind)

    async def _follow(self, position: int) -> AsyncIterator[Event]:
        """Events from a position on, until every unit is ready or nobody waits for it any more."""
        end = time.monotonic() + SETTLE.total_seconds()
        while True:
            for event in self._events[position:]:
                yield event
            position = len(self._events)
            done = all(unit.is_settled or self._is_waiting_for_lost(unit) for unit in self.units.values())
            if (done and position == len(self._events)) or time.monotonic() > end:
                return
            await asyncio.sleep(0.05)

    def _tell(self, key: str, text: str, kind: str = "info") -> None:
        event = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "process": key,
            "kind": kind,
            "event": text,
            "seconds": round(time.monotonic() - self._began, 1),
        }
        self._events.append(event)
        sys.stdout.write(json.dumps({"service": "supervisor", "level": "info", **event}) + "\n")
        sys.stdout.flush()

    def _notice_ends(self) -> None:
        for unit in self.units.values():
            unit.notice_end()

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATION)
            for log in (self.home.folder / "logs").glob("*.log"):
                await asyncio.to_thread(rotate, log)

    async def _leave_when_idle(self) -> None:
        await asyncio.sleep(IDLE.total_seconds())
        if self.plan is None:
            self._over.set()


def describe_plan(plan: Plan, home: Home) -> dict[str, Any]:
    """For the terminal: what will run where."""
    rows = [
        {"name": unit.key, "kind": unit.kind, "url": unit.url}
        for unit in plan.units
        if unit.kind in {"engine", "service"}
    ]
    rows += [{"name": name, "kind": "yours", "url": url} for name, url in plan.external.items()]
    return {"rows": rows, "megabytes": plan.megabytes(), "gateway": plan.gateway, "home": str(home.folder)}


def supervise(home: Home) -> None:
    """Run the daemon. Raises AlreadyRunning."""
    home.create()
    os.umask(0o077)
    lock = FileLock(home.lock)
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise AlreadyRunning(AlreadyRunning.__doc__)
    with lock:
        asyncio.run(Supervisor(home).run())
    sys.exit(0)
