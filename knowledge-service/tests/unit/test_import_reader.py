"""Files read in a process of their own: the same rows as here, and an end to those that ask for too much."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta

import psutil
import pytest

from knowledge_service.clients.import_reader import ImportReader
from knowledge_service.domain.import_files import Limits, Row, UnreadableFile, Upload
from knowledge_service.domain.importing import RowReader
from knowledge_service.testing import HereReader
from shared.testing import eventually


def children() -> list[psutil.Process]:
    """The processes of this test that read files; the run may have others, its engines for example."""
    return [each for each in psutil.Process().children() if "knowledge_service.clients.import_child" in each.cmdline()]


MINUTE = timedelta(minutes=1)
MIB = 1024 * 1024


def here(limits: Limits) -> RowReader:
    return HereReader(limits)


def elsewhere(limits: Limits) -> RowReader:
    return ImportReader(limits, memory_mib=1024, work=MINUTE)


@pytest.fixture(params=[here, elsewhere])
def make_reader(request: pytest.FixtureRequest) -> Callable[[Limits], RowReader]:
    made: Callable[[Limits], RowReader] = request.param
    return made


async def rows_of(reader: RowReader, upload: Upload) -> list[Row]:
    rows = await reader.read(upload)
    with contextlib.closing(rows):
        read = [row async for batch in rows.batches() for row in batch]
    assert rows.total == len(read)
    return read


def told(row: Row) -> tuple[object, ...]:
    return row.number, row.fields, row.error and (row.error.code, str(row.error))


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        ("csv", "question,answer\n" + "".join(f"Wie groß {n}?,So {n}\n" for n in range(250)) + "a,b,c\n"),
        ("jsonl", '{"question": "Q?", "answer": "A.", "tags": ["a"]}\n{\n[]\n'),
        ("json", '{"articles": [{"question": "Q?", "odd": {"deep": [1, 2.5, null, true]}}]}'),
        ("markdown", "# One?\n\nTags: a, b\n\nText.\n"),
    ],
)
async def test_the_rows_are_all_there_in_their_order(
    make_reader: Callable[[Limits], RowReader], file_format: str, content: str
) -> None:
    upload = Upload(file_format, content.encode())

    read = await rows_of(make_reader(Limits()), upload)

    assert [told(row) for row in read] == [told(row) for row in await rows_of(HereReader(), upload)]
    assert [row.number for row in read] == list(range(1, len(read) + 1))


@pytest.mark.parametrize(
    ("upload", "code"),
    [
        (Upload("csv", b"a,b\n"), "missing_header"),
        (Upload("jsonl", b"{}\n" * 11), "too_many_rows"),
        (Upload("markdown", b"# a\n" * 11), "too_many_headings"),
        (Upload("json", b"\x1f\x8b"), "not_text"),
    ],
)
async def test_what_cannot_be_read_says_why(
    make_reader: Callable[[Limits], RowReader], upload: Upload, code: str
) -> None:
    with pytest.raises(UnreadableFile) as refused:
        await make_reader(Limits(rows=10, headings=10)).read(upload)

    assert refused.value.code == code


async def test_a_file_that_takes_too_much_memory_is_refused_with_the_bound() -> None:
    reader = ImportReader(Limits(rows=10**9), memory_mib=192, work=MINUTE)

    with pytest.raises(UnreadableFile, match="192 MiB") as refused:
        await reader.read(Upload("json", b"[" + b",".join([b"{}"] * 3_000_000) + b"]"))

    assert refused.value.code == "too_much_memory"


async def test_a_file_that_takes_too_much_work_is_refused_with_the_bound() -> None:
    reader = ImportReader(Limits(rows=10**9, headings=10**9), memory_mib=4096, work=timedelta(seconds=1))

    with pytest.raises(UnreadableFile, match="1 s of work") as refused:
        await reader.read(Upload("markdown", b"# a\n\n" * 300_000))

    assert refused.value.code == "too_much_work"


async def test_whoever_stops_waiting_takes_the_process_along() -> None:
    reader = ImportReader(Limits(rows=10**9, headings=10**9), memory_mib=4096, work=MINUTE)
    reading = asyncio.create_task(reader.read(Upload("markdown", b"# a\n\n" * 300_000)))
    assert await eventually(children)

    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert children() == []


async def test_the_loop_is_free_while_the_worst_file_is_read() -> None:
    upload = Upload("jsonl", b"{}\n" * 3_000_000)
    began = time.thread_time()

    with pytest.raises(UnreadableFile):
        await ImportReader(Limits(), memory_mib=1024, work=MINUTE).read(upload)

    assert time.thread_time() - began < 0.2
