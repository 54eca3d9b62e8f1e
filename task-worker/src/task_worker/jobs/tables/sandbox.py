"""The analysis of an uploaded table, in a bounded process of its own: whatever is in the file, the worker lives on."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import structlog
from pydantic import TypeAdapter

from task_worker.domain.execution import Progress
from task_worker.domain.period import Period
from task_worker.domain.report import Report
from task_worker.domain.task import Attempt, TaskImpossible
from task_worker.jobs.tables.remarks import TableRefused

log = structlog.get_logger()

TOO_LARGE = 3
"""Exit status of a child that ran out of memory."""
SPENT = frozenset({TOO_LARGE, -signal.SIGKILL, -signal.SIGXCPU, -signal.SIGALRM})
"""How a child ends that reached one of its limits; anything else is a fault of ours and not the file's."""
REPORT: TypeAdapter[Report] = TypeAdapter(Report)
MODULE = "task_worker.jobs.tables.child"
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Environment of the child: it needs none of our secrets."""


class FileTooHard(TaskImpossible):
    """The file needs more memory or time than an analysis may take."""

    def __init__(self, memory: int, limit: timedelta) -> None:
        seconds = int(limit.total_seconds())
        super().__init__(
            "file_too_hard",
            f"The file needs more than the {memory} MiB and {seconds} s that an analysis may take: send fewer columns.",
        )


class TableProcessFailed(RuntimeError):
    """The child ended in a way that says nothing about the file."""


class TableAnalysis:
    """Schema and quality, distributions, trend and movers of a CSV."""

    def __init__(self, memory: int, limit: timedelta) -> None:
        self._memory = memory
        self._limit = limit

    async def report(
        self, attempt: Attempt, period: Period, upload: AsyncIterator[bytes], progress: Progress
    ) -> Report:
        """Stream the file to the child and read its report; a cancelled task kills the child.

        Raises FileTooHard, TableRefused with the reason, and TableProcessFailed.
        """
        await progress(10, f"reading {attempt.upload_name}")
        order = orjson.dumps(
            {
                "description": attempt.description,
                "name": attempt.upload_name,
                "memory": self._memory,
                "seconds": int(self._limit.total_seconds()) + 1,
                "period": _period(period),
                "before": _period(period.before()),
            }
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        )
        try:
            return await self._talk(child, order, upload, progress)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()

    async def _talk(
        self, child: asyncio.subprocess.Process, order: bytes, upload: AsyncIterator[bytes], progress: Progress
    ) -> Report:
        try:
            async with asyncio.timeout(self._limit.total_seconds()):
                await _send(child, order, upload)
                await progress(50, "counting")
                output, errors = await child.communicate()
        except TimeoutError as error:
            raise FileTooHard(self._memory, self._limit) from error
        if child.returncode in SPENT:
            raise FileTooHard(self._memory, self._limit)
        if child.returncode != 0:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2].partition(":")[0]
            log.warning("table_process_failed", returncode=child.returncode, error=last[:100])
            raise TableProcessFailed(f"exit status {child.returncode}")
        return _read(output)


def _read(output: bytes) -> Report:
    reply = orjson.loads(output)
    if "refused" in reply:
        raise TableRefused(reply["refused"])
    return REPORT.validate_python(reply["report"])


async def _send(child: asyncio.subprocess.Process, order: bytes, upload: AsyncIterator[bytes]) -> None:
    """The order as one line, then the file; a child that died in between is noticed by its exit status."""
    assert child.stdin is not None  # noqa: S101 - it was asked for
    try:
        child.stdin.write(order + b"\n")
        async for piece in upload:
            child.stdin.write(piece)
            await child.stdin.drain()
        child.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return


def _period(period: Period) -> dict[str, Any]:
    return {
        "since": period.since.isoformat(),
        "until": period.until.isoformat(),
        "label": period.label,
        "phrase": period.phrase,
    }
