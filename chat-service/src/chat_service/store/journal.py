"""Append-only journals on local disk: what is written down survives the process, and is taken up by the next one."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

log = structlog.get_logger()

SYNC_EVERY = timedelta(milliseconds=100)
SLOTS = 256


class Slot:
    """A folder that belongs to one process at a time, so that replicas may share a state folder.

    A slot whose process died is free: its journals are taken over by whoever starts next.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        state.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = self._claim()

    def close(self) -> None:
        """Leave the slot to the next process."""
        os.close(self._lock)

    def adopt(self, name: str) -> list[Path]:
        """Journals called `name` that dead processes left, oldest first, moved into this slot."""
        found = sorted(self.path.glob(f"{name}-*.jsonl"))
        for other in self._free_slots():
            for journal in sorted(other.glob(f"{name}-*.jsonl")):
                ours = self.path / f"{name}-0-{other.name}-{journal.name}"
                journal.rename(ours)
                found.append(ours)
        return found

    def _claim(self) -> tuple[Path, int]:
        for number in range(SLOTS):
            path = self._state / f"slot-{number}"
            lock = _try_lock(path)
            if lock is not None:
                return path, lock
        raise RuntimeError(f"no free slot in {self._state}")

    def _free_slots(self) -> Iterator[Path]:
        for path in sorted(self._state.glob("slot-*")):
            if path == self.path:
                continue
            lock = _try_lock(path)
            if lock is not None:
                yield path
                os.close(lock)


def _try_lock(path: Path) -> int | None:
    path.mkdir(exist_ok=True)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


@dataclass(frozen=True, slots=True)
class Batch:
    """The oldest lines that are not done; `own`: written by this process."""

    lines: list[bytes]
    own: bool


class Journal:
    """Lines of bytes in segments. A line is in the kernel's hands when `append` returns, and on disk 100 ms later.

    So a killed process loses nothing and a machine without power at most 100 ms. A segment is removed once all its
    lines are done; after a crash the lines of a segment that was half done come again.
    """

    def __init__(self, slot: Slot, name: str) -> None:
        self._folder = slot.path
        self._name = name
        self._found = slot.adopt(name)
        self._number = 0
        self._file: int | None = None
        self._path: Path | None = None
        self._is_dirty = False
        self._unwritten: list[bytes] = []
        self._reading: list[bytes] = []
        self._reading_path: Path | None = None
        self._reading_own = False
        self._taken = 0

    def append(self, line: bytes) -> None:
        """Write a line; when the disk takes none it is kept in memory, since it must not be lost for that."""
        try:
            os.write(self._open(), line + b"\n")
        except OSError as error:
            log.error("journal_unwritable", name=self._name, error=repr(error))
            self._unwritten.append(line)
        else:
            self._is_dirty = True

    def next_batch(self, limit: int) -> Batch | None:
        """The oldest lines, up to `limit`; the same ones until `done`."""
        if not self._reading and not self._next_segment():
            return None
        self._taken = min(limit, len(self._reading))
        return Batch(self._reading[: self._taken], self._reading_own)

    def done(self) -> None:
        """The last batch needs no keeping any more."""
        del self._reading[: self._taken]
        self._taken = 0
        if not self._reading and self._reading_path is not None:
            self._reading_path.unlink(missing_ok=True)
            self._reading_path = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._reading or self._found or self._path or self._unwritten)

    async def keep_synced(self) -> None:
        """Bring what was written to the disk, every 100 ms, for ever."""
        while True:
            await asyncio.sleep(SYNC_EVERY.total_seconds())
            if self._is_dirty and self._file is not None:
                self._is_dirty = False
                # Shielded: the thread owns the copy, and would sync a stranger's file if it were closed under it here.
                await asyncio.shield(asyncio.to_thread(_sync, os.dup(self._file)))

    def close(self) -> None:
        """Close the file; its lines stay for the next process."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        if self._file is None:
            while True:
                self._number += 1
                path = self._folder / f"{self._name}-{self._number:08d}.jsonl"
                if not path.exists():
                    break
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._path = path
        return self._file

    def _next_segment(self) -> bool:
        """Read the oldest segment; the one being written is closed for that."""
        if self._found:
            path, self._reading_own = self._found.pop(0), False
        elif self._path is not None:
            path, self._reading_own = self._path, True
            self.close()
            self._path = None
        elif self._unwritten:
            self._reading, self._unwritten, self._reading_own = self._unwritten, [], True
            return True
        else:
            return False
        self._reading = path.read_bytes().splitlines()
        self._reading_path = path
        if not self._reading:
            path.unlink()
            self._reading_path = None
        return bool(self._reading) or self._next_segment()


def _sync(descriptor: int) -> None:
    """Bring a file to the disk and close this descriptor of it."""
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
