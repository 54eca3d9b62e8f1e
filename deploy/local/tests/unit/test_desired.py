"""What the user asks for with options, the environment and `.env`."""

import json
from pathlib import Path

import pytest

from local_stack.desired import (
    NAMES,
    PREFIXES,
    DesiredState,
    InvalidDesiredState,
    base_environment,
    gather,
    read_dotenv,
)


def dotenv(folder: Path, text: str) -> Path:
    file = folder / ".env"
    file.write_text(text)
    return file


def test_the_environment_wins_over_dotenv_and_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    file = dotenv(tmp_path, "POSTGRES_HOST=from-file\nLOG_LEVEL=DEBUG\nSCYLLA_HOST=scylla\n")

    desired = gather({"POSTGRES_HOST": "from-shell", "SCYLLA_HOST": "", "EDITOR": "vi"}, file)

    assert desired.settings == {"POSTGRES_HOST": "from-shell", "LOG_LEVEL": "DEBUG"}


def test_dotenv_takes_off_quotes_comments_and_export(tmp_path: Path) -> None:
    file = dotenv(tmp_path, "# note\nexport A='x # y'\nB=\"two words\"\nC=3 # three\n\nD=a=b\nE\nF=\n")

    assert read_dotenv(file) == {"A": "x # y", "B": "two words", "C": "3", "D": "a=b", "E": "", "F": ""}


def test_a_dollar_sign_in_dotenv_stands_for_itself(tmp_path: Path) -> None:
    file = dotenv(tmp_path, "POSTGRES_PASSWORD=a${HOME}$b\n")

    assert read_dotenv(file) == {"POSTGRES_PASSWORD": "a${HOME}$b"}


def test_a_value_of_several_lines_is_one_value(tmp_path: Path) -> None:
    assert read_dotenv(dotenv(tmp_path, "A='one\ntwo'\nB=3\n")) == {"A": "one\ntwo", "B": "3"}


def test_a_dotenv_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"REDIS_PASSWORD=caf\xe9\n")

    with pytest.raises(InvalidDesiredState, match=r"\.env is not UTF-8"):
        gather({}, tmp_path / ".env")


def test_without_a_dotenv_nothing_is_set(tmp_path: Path) -> None:
    assert gather({}, tmp_path / ".env") == DesiredState()


def test_the_desired_state_goes_over_the_control_socket_unchanged(tmp_path: Path) -> None:
    environment = {"GATEWAY_PORT": "9000", "JAVA_HOME": "/java"}
    desired = gather(environment, tmp_path / ".env", ["chat-service=2", "gateway=3"], 3)

    assert DesiredState.from_json(json.loads(json.dumps(desired.to_json()))) == desired
    assert desired.replicas == {"chat-service": 2, "gateway": 3}
    assert desired.tooling == {"JAVA_HOME": "/java"}


def test_the_gateway_listens_on_loopback_unless_told_otherwise() -> None:
    assert DesiredState().gateway_host == "127.0.0.1"
    assert DesiredState(settings={"GATEWAY_HOST": "::1"}).gateway_host == "::1"


def test_every_prefix_of_a_setting_is_one_that_something_reads() -> None:
    documented = (Path(__file__).parents[4] / "docs" / "configuration.md").read_text()
    example = (Path(__file__).parents[4] / ".env.example").read_text()

    assert [prefix for prefix in PREFIXES if prefix not in documented + example] == []
    assert [name for name in NAMES if name not in documented + example] == []


@pytest.mark.parametrize("text", ["chat-service", "chat-service=", "chat-service=0", "chat-service=17", "=2x"])
def test_a_malformed_number_of_replicas_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDesiredState, match="NAME=COUNT"):
        gather({}, tmp_path / ".env", [text])


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_cannot_be_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(InvalidDesiredState, match="GATEWAY_PORT"):
        gather({"GATEWAY_PORT": port}, tmp_path / ".env")


def test_two_nodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDesiredState, match="1 or 3"):
        gather({}, tmp_path / ".env", nodes=2)


def test_processes_inherit_the_shell_but_not_its_settings() -> None:
    inherited = base_environment({"PATH": "/bin", "CHAT_PORT": "1", "PYTHONDONTWRITEBYTECODE": "1"})

    assert inherited["PATH"] == "/bin"
    assert "CHAT_PORT" not in inherited
    assert "PYTHONDONTWRITEBYTECODE" not in inherited
