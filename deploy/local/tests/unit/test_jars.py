"""The lock of Cassandra's jars, and what happens when they cannot be had."""

from pathlib import Path

import pytest

from local_stack.engines.engine import EngineUnavailable
from local_stack.engines.jars import LOCK, fetch_jars, locked_jars, missing_jars


def test_every_jar_is_locked_with_its_checksum() -> None:
    jars = locked_jars("linux-x86_64")

    assert len(jars) == len({jar.filename for jar in jars})
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert "cassandra-all-5.0.8.jar" in {jar.filename for jar in jars}


def test_natives_of_other_platforms_are_left_out() -> None:
    names = {jar.filename for jar in locked_jars("linux-aarch_64")}

    assert any(name.endswith("linux-aarch_64.jar") for name in names)
    assert not any("x86_64" in name or "osx" in name or "windows" in name for name in names)


def test_the_lock_names_no_address() -> None:
    assert "://" not in LOCK.read_text()


def test_without_a_network_one_line_says_what_is_missing_and_how_to_fix_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with pytest.raises(EngineUnavailable) as told:
        fetch_jars(tmp_path)

    assert "could not be fetched" in str(told.value)
    assert "SCYLLA_HOST" in told.value.fix
    assert len(missing_jars(tmp_path)) == len(locked_jars())
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == []
