"""The daemon behind `faq up`: brings all processes to the desired state and keeps them there."""

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
from local_stack.desired import TOOLING, DesiredState, InvalidDesiredState, base_environment
from local_stack.engines.engine import EngineUnavailable
from local_stack.fetcher import JarFetcher
from local_stack.home import Home
from local_stack.keyring import open_keyring
from local_stack.listeners import Listeners
from local_stack.logfiles import rotate
from local_stack.plan import Plan, Planner, PortTaken, check_desired, check_gateway_port
from local_stack.specs import ProcessSpec
from local_stack.state import RecordedProcess, State, load_state, save_state
from local_stack.status import describe
from local_stack.supervised import Supervised

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
Planning = Callable[[DesiredState, State, Mapping[str, int]], Plan]
"""Makes a plan of a desired state, what is remembered, and the ports that our own running processes hold."""


class AlreadyRunning(RuntimeError):
    """Another supervisor holds this MULTIDB_HOME."""


class UnknownName(LookupError):
    """No process of the stack has this name."""


class Stopping(RuntimeError):
    """The stack is being stopped; start it again with `faq up`."""


class Supervisor:
    """All processes of one home."""

    def __init__(self, home: Home, planning: Planning | None = None) -> None:
        self.home = home
        self.state = load_state(home)
        self.processes: dict[str, Supervised] = {}
        self.plan: Plan | None = None
        self._desired = DesiredState()
        self._events: list[Event] = []
        self._planning = planning or default_planning(home)
        self._began = time.monotonic()
        self._over = asyncio.Event()
        self._fetcher: JarFetcher | None = None
        self._changing = asyncio.Lock()
        self._changer: asyncio.Task[Any] | None = None
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
        except (InvalidDesiredState, PortTaken, UnknownName, EngineUnavailable, Stopping) as error:
            yield {"error": str(error)}

    async def _up(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        desired = DesiredState.from_json(request["desired"])
        desired = replace(desired, replicas={**self._desired.replicas, **desired.replicas})
        position = len(self._events)
        async with self._change():
            try:
                await self._apply(desired)
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
        while self.processes:
            for event in self._events[position:]:
                yield event
            position = len(self._events)
            await asyncio.sleep(0.1)
        yield {"stopped": True}

    async def _stop(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        async with self._change():
            await asyncio.gather(*(process.stop() for process in self._named(request["name"])))
        yield {"stopped": request["name"]}

    async def _start(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        async with self._change():
            found = self._named(request["name"])
            for process in found:
                process.start()
            reached = await asyncio.gather(*(process.reach(START) for process in found))
        yield self._outcome(request["name"], found, reached)

    async def _restart(self, request: Mapping[str, Any]) -> AsyncIterator[Event]:
        """One replica after another: the next goes down when the one before serves again."""
        async with self._change():
            found = self._named(request["name"])
            reached = []
            for process in found:
                await process.stop(keep_listening=True)
                process.start()
                reached.append(await process.reach(START))
                if not reached[-1]:
                    break
        yield self._outcome(request["name"], found, reached)

    async def _status(self, _: Mapping[str, Any]) -> AsyncIterator[Event]:
        gateway = self.plan.gateway if self.plan else None
        external = self.plan.external if self.plan else {}
        uptime = time.monotonic() - self._began
        yield await asyncio.to_thread(describe, list(self.processes.values()), gateway, external, uptime)

    # bringing processes to the desired state

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One change at a time; a stop of everything cancels the one under way, and those behind it are refused."""
        async with self._changing:
            if self._over.is_set():
                raise Stopping(Stopping.__doc__)
            self._changer = asyncio.current_task()
            try:
                yield
            finally:
                self._changer = None

    async def _apply(self, desired: DesiredState) -> None:
        """Plan anew; start what is new, restart what changed, stop what is gone."""
        plan = await self._plan_for(desired)
        wanted = {spec.key: spec for spec in plan.specs}
        for spec in plan.specs:
            if spec.key not in self.processes:
                self._add(spec)
        changed = [
            key
            for key, process in self.processes.items()
            if key in wanted and process.spec.fingerprint != wanted[key].fingerprint
        ]
        for key in changed:
            await self._replace(wanted[key])
        await asyncio.gather(*(self._remove(key) for key in self.processes.keys() - wanted.keys()))
        for key, spec in wanted.items():
            if key not in changed:
                self._begin(self.processes[key], spec)
        save_state(self.home, self.state)

    async def _plan_for(self, desired: DesiredState) -> Plan:
        """The plan that is followed from now on."""
        check_desired(desired, self.state)
        for name in TOOLING:
            os.environ.pop(name, None)
        os.environ.update(desired.tooling)
        running_port = self.state.gateway_port if "gateway" in self.processes else None
        if desired.gateway_port != running_port:
            check_gateway_port(desired.gateway_port, desired.gateway_host)
        in_use = self.state.ports if self.processes else {}
        self.plan = await asyncio.to_thread(self._planning, desired, self.state, in_use)
        self._desired = desired
        return self.plan

    def _add(self, spec: ProcessSpec) -> None:
        if spec.name == "cassandra" and self._fetcher:
            spec = replace(spec, prepare=self._fetcher.before(spec.prepare))
        self.processes[spec.key] = Supervised(
            spec, report=self._on_report, unblocked=self._is_unblocked, listeners=self._listeners
        )

    async def _replace(self, spec: ProcessSpec) -> None:
        """The same process with another spec; where its address stays, nobody is refused meanwhile."""
        old = self.processes[spec.key]
        stays = spec.kind == "service" and old.spec.launch().listens == spec.launch().listens
        await old.stop(keep_listening=stays)
        self._add(spec)
        self._begin(self.processes[spec.key], spec)
        await self.processes[spec.key].reach(START)

    async def _remove(self, key: str) -> None:
        """Stop it, then forget it and its port: only what is known here hears that its process has ended."""
        await self.processes[key].stop()
        self.processes.pop(key, None)
        self.state.ports.pop(key, None)

    def _begin(self, process: Supervised, spec: ProcessSpec) -> None:
        if spec.kind == "one-shot" and self.state.finished.get(spec.key) == spec.stamp:
            process.skip()
        elif process.state != "ready":
            process.start()

    def _is_unblocked(self, spec: ProcessSpec) -> bool:
        """Whether everything the process comes after is ready; one-shots also bring along what their engine lacks."""
        return all(key in self.processes and self.processes[key].state == "ready" for key in spec.after)

    def _on_report(self, supervised: Supervised, text: str) -> None:
        spec = supervised.spec
        if text == "started" and supervised.child:
            pid = supervised.child.pid
            kept = [entry for entry in self.state.processes if entry.key != spec.key]
            self.state.processes = [*kept, RecordedProcess(spec.key, pid, orphans.birth(pid))]
            save_state(self.home, self.state)
        if text == "ready" and spec.kind == "one-shot":
            self.state.finished[spec.key] = spec.stamp
            save_state(self.home, self.state)
        self._tell(
            spec.key, supervised.problem if text == "unavailable" and supervised.problem else text, kind=spec.kind
        )

    async def _stop_all(self) -> None:
        """The gateway, then services and one-shots, then engines, Cassandra last, within STOP."""
        end = time.monotonic() + STOP.total_seconds()
        if self._changer:
            self._changer.cancel()
        if self._fetcher:
            self._fetcher.stop()
        groups = (
            (GATEWAY_GRACE, [process for process in self.processes.values() if process.spec.name == "gateway"]),
            (
                SERVICE_GRACE,
                [p for p in self.processes.values() if p.spec.kind != "engine" and p.spec.name != "gateway"],
            ),
            (
                ENGINE_GRACE,
                [p for p in self.processes.values() if p.spec.kind == "engine" and p.spec.name != "cassandra"],
            ),
        )
        for grace, group in groups:
            await self._stop_group(group, grace)
        cassandra = [process for process in self.processes.values() if process.spec.name == "cassandra"]
        await self._stop_group(cassandra, timedelta(seconds=max(2.0, end - time.monotonic())))
        self.state.processes = []
        self.processes.clear()

    async def _stop_group(self, group: Iterable[Supervised], grace: timedelta) -> None:
        async def stop(process: Supervised) -> None:
            was_running = process.child is not None and process.child.exit_code is None
            await process.stop(grace)
            if was_running:
                self._tell(process.spec.key, "stopped", kind=process.spec.kind)

        await asyncio.gather(*(stop(process) for process in group))

    # looking and telling

    def _named(self, name: str) -> list[Supervised]:
        found = [process for process in self.processes.values() if name in {process.spec.name, process.spec.key}]
        if not found:
            names = sorted(
                {process.spec.name for process in self.processes.values() if process.spec.kind != "one-shot"}
            )
            raise UnknownName(f"No process is called {name}; there are {', '.join(names)}")
        return found

    def _outcome(self, name: str, found: list[Supervised], reached: list[bool]) -> Event:
        if all(reached) and len(reached) == len(found):
            return {"ready": name}
        why = next((process.problem for process in found if process.problem), None)
        return {"error": why or f"{name} did not become ready; see `faq logs {name}`"}

    def _problems(self) -> list[str]:
        """What is not as wanted, one line each; a process that waits for a missing one is not named again."""
        lines = [process.problem for process in self.processes.values() if process.problem]
        lines += [
            f"{key} is not ready; see `faq logs {key}`"
            for key, process in self.processes.items()
            if process.state != "ready" and not process.problem and not self._is_waiting_for_lost(process)
        ]
        return lines

    def _is_waiting_for_lost(self, supervised: Supervised) -> bool:
        behind = (self.processes[key] for key in supervised.spec.after if key in self.processes)
        return any(process.has_given_up or self._is_waiting_for_lost(process) for process in behind)

    async def _follow(self, position: int) -> AsyncIterator[Event]:
        """Events from a position on, until every process is ready or nobody waits for it any more."""
        end = time.monotonic() + SETTLE.total_seconds()
        while True:
            for event in self._events[position:]:
                yield event
            position = len(self._events)
            done = all(process.is_settled or self._is_waiting_for_lost(process) for process in self.processes.values())
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
        for process in self.processes.values():
            process.notice_end()

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
        {"name": spec.key, "kind": spec.kind, "url": spec.url}
        for spec in plan.specs
        if spec.kind in {"engine", "service"}
    ]
    rows += [{"name": name, "kind": "yours", "url": url} for name, url in plan.external.items()]
    return {"rows": rows, "megabytes": plan.megabytes(), "gateway": plan.gateway, "home": str(home.folder)}


def default_planning(home: Home) -> Planning:
    """Plans of the product itself."""
    base = base_environment()

    def planning(desired: DesiredState, state: State, in_use: Mapping[str, int]) -> Plan:
        return Planner(home, desired, state, open_keyring(home), base).plan(in_use)

    return planning


def supervise(home: Home, planning: Planning | None = None) -> None:
    """Run the daemon. Raises AlreadyRunning."""
    home.create()
    os.umask(0o077)
    lock = FileLock(home.lock)
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise AlreadyRunning(AlreadyRunning.__doc__)
    with lock:
        asyncio.run(Supervisor(home, planning).run())
    sys.exit(0)
