"""Processes of our own: started with no secret in their environment, ended with us, killed when they take too long."""

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import IO, Any

import orjson
import structlog

from shared.errors import CapabilityUnavailable

log = structlog.get_logger()

LINE = 64 * 1024 * 1024
"""The longest line a child may write."""
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR")
"""All that a child gets of the environment."""


async def start_child(
    module: str, arguments: Sequence[str] = (), *, output: IO[bytes] | int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    """Run a module of ours with a pipe to its input; what it complains of goes where our own logs go."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=output,
        limit=LINE,
        env=environment,
    )


async def end_child(child: asyncio.subprocess.Process) -> None:
    """Kill it if it still runs, and wait until it is gone; its pipes are closed."""
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    if child.stdin is not None:
        child.stdin.close()
        with contextlib.suppress(OSError):
            await child.stdin.wait_closed()
    if child.stdout is not None:
        with contextlib.suppress(ValueError):  # a line longer than any of ours
            await child.stdout.read()
    await child.wait()


class Child:
    """A process that answers calls: a line of JSON and a blob in, a line of JSON out, in any order.

    Started with the first call, and again with the next one after it died. Losing it, or an answer that does not come
    `within` its time, raises CapabilityUnavailable; one that is too slow is killed.
    """

    def __init__(self, module: str, arguments: Sequence[str] = (), *, capability: str) -> None:
        self.life = 0
        self._module = module
        self._arguments = arguments
        self._capability = capability
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def call(self, operation: str, given: Mapping[str, Any], blob: bytes = b"", *, within: timedelta) -> Any:  # noqa: ANN401 - JSON
        """The result of an operation."""
        process = await self._running()
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        head = {"number": number, "operation": operation, "given": given, "size": len(blob)}
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._send(process, orjson.dumps(head) + b"\n" + blob)
                reply = await answer
        except TimeoutError as error:
            log.error("child_too_slow", module=self._module, operation=operation)
            await self._end(process)
            raise self._away() from error
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            log.error("child_failed", module=self._module, operation=operation, error=reply["error"])
            raise self._away()
        return reply["result"]

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            await self._end(self._process)

    async def _send(self, process: asyncio.subprocess.Process, data: bytes) -> None:
        assert process.stdin is not None  # noqa: S101 - it was started with a pipe
        try:
            process.stdin.write(data)
            await process.stdin.drain()
        except OSError as error:
            raise self._away() from error

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None:
                self._process = await start_child(self._module, self._arguments)
                self.life += 1
                self._reading = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand out the answers until there are no more."""
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        while line := await process.stdout.readline():
            reply = orjson.loads(line)
            waiting = self._waiting.get(reply["number"])
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)
        self._lost(process)
        await end_child(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        reading = self._reading
        self._lost(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if reading is not None:
            await reading

    def _lost(self, process: asyncio.subprocess.Process) -> None:
        """What it held is gone, and whoever waits is told."""
        if self._process is not process:
            return
        self._process = None
        self.life += 1
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._away())

    def _away(self) -> CapabilityUnavailable:
        return CapabilityUnavailable(capability=self._capability)
