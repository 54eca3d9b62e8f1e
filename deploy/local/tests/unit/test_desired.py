"""What the user asks for with options, the environment and `.env`."""

from pathlib import Path

import pytest

from local_stack.desired import InvalidDesiredState, base_environment, gather, read_dotenv


def dotenv(folder: Path, text: str) -> Path:
    file = folder / ".env"
    file.write_text(text)
    return file


def test_the_environment_wins_over_dotenv_and_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    file = dotenv(tmp_path, "POSTGRES_HOST=from-file\nLOG_LEVEL=DEBUG\nSCYLLA_HOST=scylla\n")

    desired = gather({"POSTGRES_HOST": "from-shell", "SCYLLA_HOST": "", "EDITOR": "vi"}, file)

    assert desired.settings == {"POSTGRES_HOST": "from-shell", "LOG_LEVEL": "DEBUG"}


def test_dotenv_takes_off_quotes_comments_and_export(tmp_path: Path) -> None:
    file = dotenv(tmp_path, "# note\nexport A='x # y'\nB=\"two words\"\nC=3 # three\n\nnot a line\nD=a=b\n")

    assert read_dotenv(file) == {"A": "x # y", "B": "two words", "C": "3", "D": "a=b"}


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
