import asyncio
import os
import threading
from pathlib import Path

import pytest

from chat_service.store.journal import Journal, Slot


def test_lines_come_back_in_order_and_only_until_they_are_done(tmp_path: Path) -> None:
    journal = Journal(Slot(tmp_path), "usage")
    for number in range(5):
        journal.append(str(number).encode())

    first = journal.next_batch(3)
    again = journal.next_batch(3)
    journal.done()
    rest = journal.next_batch(3)

    assert first is not None
    assert first.lines == [b"0", b"1", b"2"]
    assert again == first
    assert rest is not None
    assert rest.lines == [b"3", b"4"]
    journal.done()
    assert journal.next_batch(3) is None
    assert not list(tmp_path.glob("*/*.jsonl"))


def test_the_next_process_takes_up_what_a_dead_one_left(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    Journal(slot, "usage").append(b"left")
    slot.close()

    batch = Journal(Slot(tmp_path), "usage").next_batch(10)

    assert batch is not None
    assert batch.lines == [b"left"]
    assert not batch.own


def test_two_living_processes_never_share_a_slot(tmp_path: Path) -> None:
    one, two = Slot(tmp_path), Slot(tmp_path)
    Journal(one, "usage").append(b"mine")

    assert one.path != two.path
    assert Journal(two, "usage").next_batch(10) is None


async def test_a_sync_that_outlives_its_loop_still_syncs_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(Slot(tmp_path), "usage")
    begun, go_on, synced = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    files: list[int] = []

    def slow_sync(descriptor: int) -> None:
        begun.set()
        go_on.wait(5)
        files.append(os.fstat(descriptor).st_ino)
        loop.call_soon_threadsafe(synced.set)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    journal.append(b"line")
    journal_file = tmp_path / "slot-0" / "usage-00000001.jsonl"
    syncing = asyncio.create_task(journal.keep_synced())
    await asyncio.to_thread(begun.wait, 5)

    syncing.cancel()
    await asyncio.gather(syncing, return_exceptions=True)
    journal.close()
    stranger = (tmp_path / "stranger").open("wb")  # takes the first free number
    go_on.set()
    await asyncio.wait_for(synced.wait(), 5)
    stranger.close()

    assert files == [journal_file.stat().st_ino]
