"""What a stack keeps in its home: state, secrets, folders; whole or not at all, and for this user alone."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from local_stack.home import Home, checkout, find_home, write_private
from local_stack.keyring import Keyring, open_keyring
from local_stack.state import RecordedProcess, State, load_state, save_state


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_state_is_read_as_it_was_kept(home: Home) -> None:
    state = State(3, 8000, {"cassandra": 21_000}, {"seed": "x"}, [RecordedProcess("a", 1, 2.5)], {"socket": "s"})

    save_state(home, state)

    assert load_state(home) == state
    assert home.state.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"unknown": 1}', '{"processes": [{"pid": 1}]}'])
def test_a_state_that_cannot_be_read_is_an_empty_one(home: Home, text: str | None) -> None:
    home.create()
    if text is not None:
        home.state.write_text(text)

    assert load_state(home) == State()


def test_secrets_are_made_once_and_are_all_different(home: Home) -> None:
    first = open_keyring(home)

    assert open_keyring(home) == first
    assert len(set(asdict(first).values())) == len(fields(Keyring))
    assert all(len(value) >= 32 for value in asdict(first).values())


def test_a_secret_that_a_later_version_needs_is_added_and_the_others_stay(home: Home) -> None:
    first = open_keyring(home)
    known = json.loads(home.secrets.read_text())
    del known["cursor_key"]
    home.secrets.write_text(json.dumps({**known, "of_a_newer_version": "kept"}))

    second = open_keyring(home)

    assert second.auth_password_pepper == first.auth_password_pepper
    assert second.cursor_key != first.cursor_key
    assert json.loads(home.secrets.read_text())["of_a_newer_version"] == "kept"


def test_a_private_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "secret.json"

    write_private(file, "one")
    write_private(file, "two")

    assert file.read_text() == "two"
    assert [entry.name for entry in file.parent.iterdir()] == ["secret.json"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_private_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "secret.json"
    write_private(file, "old")
    (tmp_path / ".secret.json.new").mkdir()

    with pytest.raises(IsADirectoryError):
        write_private(file, "new")

    assert file.read_text() == "old"


def test_the_home_is_named_by_the_environment_or_lies_in_the_checkout(tmp_path: Path) -> None:
    assert find_home({"MULTIDB_HOME": str(tmp_path)}).folder == tmp_path.resolve()
    assert find_home({}).folder == checkout() / ".multidb"
    assert (checkout() / "requirements.lock").exists()


def test_every_file_of_a_stack_is_in_its_home(home: Home) -> None:
    named = [home.state, home.lock, home.socket, home.secrets, home.credentials]
    named += [home.log("gateway"), home.data("postgresql"), home.service_state("chat-service")]

    assert all(path.is_relative_to(home.folder) for path in named)
    assert len(set(named)) == len(named)
