"""One process under supervision: started in its turn, watched, restarted with growing pauses, stopped on request."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from local_stack.engines.engine import EngineUnavailable
from local_stack.listeners import Listeners
from local_stack.process import Child, spawn
from local_stack.specs import ProcessSpec

ProcessState = Literal["starting", "ready", "failed", "stopped"]
PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before the n-th restart in a row
STEADY = 30.0  # a process that lived so long in seconds starts with the first pause again
HOPELESS = 4  # failures in a row after which nobody waits for the process any more
UNAVAILABLE_PAUSE = 60.0  # seconds until a missing engine is looked for again
LOOK = 0.1  # seconds between readiness probes

Report = Callable[["Supervised", str], None]
Unblocked = Callable[[ProcessSpec], bool]


class Supervised:
    """Keeps one process as it is wanted. Belongs to one event loop."""

    def __init__(self, spec: ProcessSpec, *, report: Report, unblocked: Unblocked, listeners: Listeners) -> None:
        self.spec = spec
        self.state: ProcessState = "stopped"
        self.wanted = False
        self.restarts = 0
        self.failures = 0
        self.problem: str | None = None
        self.child: Child | None = None
        self._report = report
        self._unblocked = unblocked
        self._ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listeners = listeners

    @property
    def is_settled(self) -> bool:
        """Whether waiting longer at start makes no sense: it is ready, or stopped, or keeps failing."""
        return self.state in {"ready", "stopped"} or self.has_given_up

    @property
    def has_given_up(self) -> bool:
        """Whether it keeps failing (it is tried again all the same)."""
        return self.problem is not None or self.failures >= HOPELESS

    def start(self) -> None:
        """Want it running; one that pauses after failures is tried at once."""
        self.wanted = True
        self.failures = 0
        self.problem = None
        self._wake.set()
        if self._task is None or self._task.done():
            self.state = "starting"
            self._task = asyncio.create_task(self._keep_running())

    def skip(self) -> None:
        """Count a one-shot as done without running it."""
        self.wanted = True
        self.state = "ready"

    async def stop(self, grace: timedelta | None = None, *, keep_listening: bool = False) -> None:
        """Want it stopped; returns when the process is gone.

        `keep_listening`: clients that connect in the meantime wait for the next process instead of being refused.
        """
        self.wanted = False
        self._wake.set()
        child = self.child
        if child is not None and child.exit_code is None:
            child.ask_to_stop()
            if not await self._has_ended(child, child.launch.grace if grace is None else grace):
                self._report(self, "killed")
                await asyncio.to_thread(child.kill)
            self._ended.set()
        if self._task is not None:
            await asyncio.wait({self._task})  # unlike `await`, leaves it alone when this stop is cancelled
        if not keep_listening:
            self._listeners.release(self.spec.key)
        self.state = "stopped"

    async def reach(self, limit: timedelta) -> bool:
        """Whether it is ready within the time; gives up early when it keeps failing."""
        end = time.monotonic() + limit.total_seconds()
        while self.state != "ready":
            if time.monotonic() > end or (self.has_given_up and self.state != "starting"):
                return False
            await asyncio.sleep(LOOK)
        return True

    def notice_end(self) -> None:
        """Look whether the process has ended; called on SIGCHLD."""
        if self.child is not None and self.child.exit_code is not None:
            self._ended.set()

    async def _has_ended(self, child: Child, limit: timedelta) -> bool:
        """Whether the process ends within the time. It is looked at as well, in case nobody hears SIGCHLD for it."""
        end = time.monotonic() + limit.total_seconds()
        while child.exit_code is None and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK)
        return child.exit_code is not None

    async def _keep_running(self) -> None:
        while self.wanted:
            self.state = "starting"
            pause = await self._run_once()
            if not self.wanted or self._is_done():
                break
            self.state = "failed" if self.has_given_up else "starting"
            await self._pause(pause)
        if not self._is_done():
            self.state = "stopped"

    async def _run_once(self) -> float:
        """Start it, see it through to its end; the pause before the next attempt in seconds."""
        await self._wait_for_turn()
        try:
            child = await self._begin() if self._is_wanted() else None
        except EngineUnavailable as error:
            self.problem = str(error)
            self._report(self, "unavailable")
            return UNAVAILABLE_PAUSE
        except OSError as error:
            return self._failed(repr(error), lived=0.0)
        return await self._see_through(child) if child else 0.0

    async def _begin(self) -> Child | None:
        """The process, unless it is not wanted any more by the time it is prepared."""
        await asyncio.to_thread(self.spec.prepare)
        if not self._is_wanted():
            return None
        self._ended.clear()
        self.child = self._spawn()
        self._report(self, "started")
        return self.child

    async def _see_through(self, child: Child) -> float:
        await self._watch(child)
        if not self._is_wanted():
            return 0.0
        if self.spec.kind == "one-shot" and child.exit_code == 0:
            self._succeed()
            return 0.0
        self.restarts += 1
        return self._failed(f"exit code {child.exit_code}", time.monotonic() - child.started)

    def _spawn(self) -> Child:
        launch = self.spec.launch()
        return spawn(launch, self._listeners.hold(launch.listens, self.spec.key) if launch.listens else None)

    async def _watch(self, child: Child) -> None:
        """Until the process has ended; on the way it becomes ready."""
        self.notice_end()
        while not self._ended.is_set() and self.spec.kind != "one-shot":
            if await asyncio.to_thread(self.spec.answers) and child.exit_code is None:
                self._succeed()
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK)
        await self._ended.wait()

    def _is_wanted(self) -> bool:
        """As a call, because `stop` may change the answer during any await."""
        return self.wanted

    async def _wait_for_turn(self) -> None:
        while self.wanted and not self._unblocked(self.spec):
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK)

    def _succeed(self) -> None:
        if self.wanted:
            self.state = "ready"
            self.problem = None
            self._report(self, "ready")

    def _failed(self, why: str, lived: float) -> float:
        self.failures = 1 if lived > STEADY else self.failures + 1
        pause = PAUSES[min(self.failures, len(PAUSES)) - 1]
        self._report(self, f"ended with {why}, starting again in {pause:g} s")
        return pause

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _is_done(self) -> bool:
        return self.spec.kind == "one-shot" and self.state == "ready"
