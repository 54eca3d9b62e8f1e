"""Logs: kept small, shown as one."""

import threading
from pathlib import Path

from local_stack.logfiles import rotate
from local_stack.tail import Line, _news, follow, last_lines, logs


def test_a_log_over_the_limit_is_put_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "chat-service.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)

        assert rotate(log, limit=20)
        writer.write(b"new\n")

    assert log.read_text() == "new\n"
    assert (tmp_path / "chat-service.log.1").read_text() == "old\n" * 10
    assert not rotate(log, limit=20)


def test_only_three_old_logs_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for number in range(6):
        log.write_text(f"{number}\n")
        rotate(log, limit=0)

    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert (tmp_path / "a.log.1").read_text() == "5\n"


def test_lines_of_all_processes_come_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "gateway.log").write_text(
        '{"timestamp": "2026-01-01T10:00:00.100Z", "level": "info", "event": "one"}\n'
        '{"timestamp": "2026-01-01T10:00:00.300Z", "level": "info", "event": "three"}\n'
    )
    (tmp_path / "cassandra.log").write_text("2026-01-01 10:00:00,200 INFO two\n  its second line\n")

    found = last_lines(logs(tmp_path, []))

    assert [line.process for line in found] == ["gateway", "cassandra", "cassandra", "gateway"]


def test_a_name_stands_for_all_its_replicas(tmp_path: Path) -> None:
    for name in ("task-worker", "task-worker-2", "task-worker-worker"):
        (tmp_path / f"{name}.log").touch()

    assert [log.stem for log in logs(tmp_path, ["task-worker"])] == ["task-worker", "task-worker-2"]


def test_a_json_line_reads_as_a_sentence_and_a_plain_one_as_it_is() -> None:
    ours = Line(
        "gateway", '{"timestamp": "2026-01-01T10:00:00.100Z", "level": "info", "event": "served", "status": 200}'
    )

    assert ours.readable() == "10:00:00.100 INFO    served status=200"
    assert Line("cassandra", "plain").as_json() == '{"process": "cassandra", "event": "plain"}'


def test_new_lines_are_followed_over_a_rotation_and_new_logs_are_taken_up(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("before\n")
    seen: list[str] = []

    def write(path: Path, text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    offsets = {log: log.stat().st_size}
    write(log, "one\nhalf")
    seen += [line.text for line in _news(log, offsets)]
    write(log, " done\n")
    seen += [line.text for line in _news(log, offsets)]
    log.write_text("again\n")
    seen += [line.text for line in _news(log, offsets)]
    new = tmp_path / "b.log"
    write(new, "first\n")
    seen += [f"{line.process} {line.text}" for line in _news(new, offsets)]
    seen += [line.text for line in _news(new, offsets)]

    assert seen == ["one", "half done", "again", "b first"]


def test_following_begins_at_the_end_of_what_is_there(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("before\n")
    lines = follow(tmp_path, ["a"])
    writer = threading.Timer(0.3, lambda: log.write_text("before\nafter\n"))
    writer.start()

    assert next(lines) == Line("a", "after")

    writer.join()


def test_only_the_last_lines_of_a_long_log_are_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))

    assert [line.text for line in last_lines([log], 2)] == ["line 99998", "line 99999"]


def test_a_byte_that_is_not_utf_8_ends_no_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"caf\xe9\nnext\n")

    assert [line.text for line in last_lines([log])] == ["caf\ufffd", "next"]


def test_a_line_that_only_looks_like_ours_is_shown_as_it_is() -> None:
    assert Line("a", "{not json").readable() == "{not json"
    assert Line("a", "[1]").fields is None
    assert Line("a", '{"a": 1}').moment == ""


def test_a_log_that_is_not_there_is_not_rotated(tmp_path: Path) -> None:
    assert not rotate(tmp_path / "missing.log")
