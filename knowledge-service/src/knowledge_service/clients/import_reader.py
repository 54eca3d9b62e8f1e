"""Files read in a process of their own, which a bound on memory, on work and on time ends."""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import IO, Any

import orjson
import structlog

from knowledge_service.clients.children import end_child, start_child
from knowledge_service.clients.import_child import OUT_OF_MEMORY
from knowledge_service.domain.import_files import Limits, Row, UnreadableFile, UnreadableRow, Upload

log = structlog.get_logger()

MIB = 1024 * 1024
SLOWEST = 3
"""Times the bound on work that reading may take by the clock: the process is nice to others."""


class SpooledRows:
    """The rows of a file, on disk until they are needed."""

    def __init__(self, spool: IO[bytes], total: int) -> None:
        self.total = total
        self._spool = spool

    async def batches(self) -> AsyncIterator[list[Row]]:
        """All rows in their order, some at a time."""
        while line := await asyncio.to_thread(self._spool.readline):
            yield [_row(*told) for told in orjson.loads(line)]

    def close(self) -> None:
        """Give the disk back."""
        self._spool.close()


def _row(number: int, fields: dict[str, Any], error: tuple[str, str] | None) -> Row:
    return Row(number, fields, None if error is None else UnreadableRow(*error))


class ImportReader:
    """Reads files within limits; raises UnreadableFile, which says what was too much."""

    def __init__(self, limits: Limits, *, memory_mib: int, work: timedelta) -> None:
        self._limits = limits
        self._memory_mib = memory_mib
        self._work = work

    async def read(self, upload: Upload) -> SpooledRows:
        """The rows of a file; whoever gets them closes them."""
        with contextlib.ExitStack() as on_failure:
            spool = on_failure.enter_context(tempfile.TemporaryFile(prefix="multidb-import-"))
            status = await self._run(upload, spool)
            total = self._total(status, spool)
            on_failure.pop_all()
        return SpooledRows(spool, total)

    def _total(self, status: int, spool: IO[bytes]) -> int:
        if status != 0:
            raise self._ended(status)
        spool.seek(0)
        head = orjson.loads(spool.readline())
        if "refused" in head:
            raise UnreadableFile(*head["refused"])
        return int(head["total"])

    async def _run(self, upload: Upload, spool: IO[bytes]) -> int:
        """How the process ended; it is killed when it takes too long or nobody waits for it any more."""
        order = {
            "format": upload.file_format,
            "rows": self._limits.rows,
            "headings": self._limits.headings,
            "memory": self._memory_mib * MIB,
            "seconds": max(1, int(self._work.total_seconds())),
        }
        child = await start_child("knowledge_service.clients.import_child", output=spool)
        try:
            async with asyncio.timeout(SLOWEST * self._work.total_seconds()):
                await child.communicate(orjson.dumps(order) + b"\n" + upload.content)
        except TimeoutError:
            return -signal.SIGXCPU
        finally:
            await end_child(child)
        return child.returncode or 0

    def _ended(self, status: int) -> UnreadableFile:
        if status == -signal.SIGXCPU:
            seconds = int(self._work.total_seconds())
            return UnreadableFile("too_much_work", f"The file takes more than {seconds} s of work to read: split it.")
        if status == OUT_OF_MEMORY:
            return UnreadableFile(
                "too_much_memory", f"The file takes more than {self._memory_mib} MiB of memory to read: split it."
            )
        log.error("import_reader_failed", status=status)
        return UnreadableFile("unreadable", "The file could not be read; the reason is in our logs.")
