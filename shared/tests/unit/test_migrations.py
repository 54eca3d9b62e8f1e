from pathlib import Path

import pytest

from shared.migrations import Migration, MigrationChanged, migrations_of, pending

FIRST = Migration("0001_first.sql", "CREATE TABLE a ()")
SECOND = Migration("0002_second.sql", "CREATE TABLE b ()")


def test_only_what_was_not_applied_is_pending_in_order() -> None:
    assert pending([FIRST, SECOND], {}) == [FIRST, SECOND]
    assert pending([FIRST, SECOND], {FIRST.name: FIRST.checksum}) == [SECOND]
    assert pending([FIRST, SECOND], {one.name: one.checksum for one in (FIRST, SECOND)}) == []


def test_an_applied_migration_with_another_text_is_refused_even_behind_pending_ones() -> None:
    edited = Migration(SECOND.name, SECOND.text + " -- edited")

    with pytest.raises(MigrationChanged, match="0002_second"):
        pending([FIRST, edited], {SECOND.name: SECOND.checksum})


def test_what_a_newer_release_applied_does_not_stop_an_older_one() -> None:
    assert pending([FIRST], {FIRST.name: FIRST.checksum, SECOND.name: SECOND.checksum}) == []


def test_statements_end_with_a_semicolon_at_the_end_of_a_line_and_comments_are_none() -> None:
    text = "-- first; a\nCREATE TABLE a (\n  b text -- kept\n);\n  -- second\nINSERT INTO a VALUES ('x;y');\n\n"

    assert list(Migration("0001_a.cql", text).statements()) == [
        "CREATE TABLE a (\n  b text -- kept\n)",
        "INSERT INTO a VALUES ('x;y')",
    ]


def test_a_package_has_the_numbered_files_of_its_folder_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "counted_service" / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    for name in ("0002_b.cql", "0001_a.sql", "notes.txt", "1_short.sql", "0003_C.sql"):
        (folder / name).write_text(name)
    monkeypatch.syspath_prepend(tmp_path)

    assert migrations_of("counted_service") == [
        Migration("0001_a.sql", "0001_a.sql"),
        Migration("0002_b.cql", "0002_b.cql"),
    ]
