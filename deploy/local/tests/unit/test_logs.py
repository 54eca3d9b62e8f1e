"""Logs: kept small, shown as one."""

from pathlib import Path

from local_stack.logfiles import rotate
from local_stack.tail import Line, last_lines, logs


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
