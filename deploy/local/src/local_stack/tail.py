"""The logs of all processes as one stream, in the order of their times."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAST = 40  # lines of each log that are shown first
CHUNK = 256 * 1024
EVERY = 0.2  # seconds between looks at the files
STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)[.,]?(\d{0,6})")
USUAL = ("timestamp", "level", "event", "service")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one log."""

    process: str
    text: str

    @property
    def moment(self) -> str:
        """Its time as sortable text; empty when it has none."""
        found = STAMP.search(self.text[:80])
        return f"{found[1]} {found[2]}.{found[3]:0<6}" if found else ""

    @property
    def fields(self) -> dict[str, Any] | None:
        """Its fields, if it is one of our own JSON lines."""
        if not self.text.startswith("{"):
            return None
        try:
            parsed = json.loads(self.text)
        except ValueError:
            return None
        return parsed if isinstance(parsed, dict) else None

    def readable(self) -> str:
        """For a person: time, level, event and the facts beside it."""
        fields = self.fields
        if fields is None:
            return self.text
        facts = " ".join(f"{name}={value}" for name, value in fields.items() if name not in USUAL)
        moment = str(fields.get("timestamp", ""))[11:23]
        return f"{moment} {str(fields.get('level', '')).upper():<7} {fields.get('event', '')} {facts}".strip()

    def as_json(self) -> str:
        """For a program: always an object that names the process."""
        return json.dumps({"process": self.process, **(self.fields or {"event": self.text})}, ensure_ascii=False)


def logs(folder: Path, names: Sequence[str]) -> list[Path]:
    """The log files of the names (every replica), or all."""
    found = sorted(folder.glob("*.log"), key=lambda log: log.stem)
    return [log for log in found if not names or _named(log.stem, names)]


def last_lines(files: Sequence[Path], count: int = LAST) -> list[Line]:
    """The end of each log, merged by time; lines without a time stay behind the one before them."""
    stamped: list[tuple[str, Line]] = []
    for file in files:
        moment = ""
        for line in _tail(file, count):
            moment = line.moment or moment
            stamped.append((moment, line))
    return [line for _, line in sorted(stamped, key=lambda pair: pair[0])]


def follow(folder: Path, names: Sequence[str]) -> Iterator[Line]:
    """New lines as they are written, for ever; logs that appear later are taken up."""
    offsets = {file: file.stat().st_size for file in logs(folder, names)}
    while True:
        for file in logs(folder, names):
            yield from _news(file, offsets)
        time.sleep(EVERY)


def _news(file: Path, offsets: dict[Path, int]) -> Iterator[Line]:
    size = file.stat().st_size
    begin = offsets.get(file, 0)
    if size < begin:  # rotated
        begin = 0
    if size == begin:
        return
    with file.open("rb") as handle:
        handle.seek(begin)
        data = handle.read(size - begin)
    complete = data.rfind(b"\n") + 1
    offsets[file] = begin + complete
    for text in data[:complete].decode(errors="replace").splitlines():
        yield Line(file.stem, text)


def _tail(file: Path, count: int) -> list[Line]:
    with file.open("rb") as handle:
        handle.seek(max(0, file.stat().st_size - CHUNK))
        lines = handle.read().decode(errors="replace").splitlines()
    return [Line(file.stem, text) for text in lines[-count:]]


def _named(stem: str, names: Sequence[str]) -> bool:
    return any(stem == name or re.fullmatch(re.escape(name) + r"-\d+", stem) for name in names)
