"""What is asked and what is answered goes through the command line as it is: in a pipe, in a file, on a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Twin = Any
"""See conftest.py."""
COLUMNS = 80
ADDRESS = (
    "https://docs.acme.example/en/latest/reference/configuration/settings-and-environment-variables/"
    "index.html?section=advanced#proxy"
)
LONG = f'See {ADDRESS} for it.\n\n  make up ARGS="--replicas chat-service=2 --replicas auth-service=2 --nodes 3"\n\tx'
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


def reply(text: str, question: str = "What is Redis?") -> dict[str, Any]:
    answer = {"article_id": "a", "version": 3, "question": question, "text": text}
    return {
        "session_id": "s",
        "message_id": "m1",
        "reply": text,
        "outcome": "answered",
        "answer": answer,
        "confidence": 0.93,
        "suggestions": [],
        "degraded": [],
    }


def command(twin: Twin, *words: str | bytes) -> list[str | bytes]:
    return [sys.executable, "-m", "cli", "--url", twin.url, *words]


def in_a_pipe(
    twin: Twin, *words: str | bytes, given: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "COLUMNS": str(COLUMNS), **environment}
    return subprocess.run(command(twin, *words), input=given, capture_output=True, check=False, env=env, timeout=30)


def in_a_file(twin: Twin, *words: str) -> str:
    return in_a_pipe(twin, *words).stdout.decode()


def on_a_terminal(twin: Twin, *words: str) -> str:
    """What a terminal of 80 columns gets, its colours taken off."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, COLUMNS, 0, 0))
    env = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command(twin, *words), stdin=theirs, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        got = read_all(ours)
    os.close(ours)
    return ESCAPES.sub("", got.decode())


def read_all(descriptor: int) -> bytes:
    got = b""
    try:
        while piece := os.read(descriptor, 65_536):
            got += piece
    except OSError:  # how a terminal ends
        pass
    return got


pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.mark.parametrize("words", [["ask", "hi"], ["kb", "show", "a"], ["history"]])
def test_a_text_is_printed_word_for_word_into_a_pipe(twin: Twin, words: list[str]) -> None:
    everything(twin, LONG)

    assert LONG in in_a_file(twin, *words)


@pytest.mark.parametrize("words", [["ask", "hi"], ["kb", "show", "a"], ["history"]])
def test_a_terminal_breaks_no_line_of_a_text_either(twin: Twin, words: list[str]) -> None:
    everything(twin, LONG)

    assert LONG in on_a_terminal(twin, *words)


@pytest.mark.parametrize("shown", [in_a_file, on_a_terminal])
def test_hints_and_sources_are_not_broken_either(twin: Twin, shown: Callable[..., str]) -> None:
    question = f"Where is {ADDRESS} and is [bold]this[/bold] :smile:?"
    twin.says("POST /chat/message", 200, reply("Yes.", question))
    twin.says("GET /chat/history/s", 200, {"session_id": "s", "messages": [], "next_cursor": "c" * 300})

    assert f"from: {question} (version 3)" in shown(twin, "ask", "hi")
    assert f"faq history --cursor {'c' * 300}" in shown(twin, "history", "s")


def everything(twin: Twin, text: str) -> None:
    """The same text wherever the server is asked for one."""
    article = {"id": "a", "question": "Q", "alternatives": [], "tags": [], "version": 1, "status": "published"}
    message = {"role": "assistant", "text": text, "created_at": "2026-11-25T10:00:00Z"}
    twin.says("POST /chat/message", 200, reply(text))
    twin.says("GET /knowledge/articles/a", 200, {**article, "answer": text})
    session = saved_session(twin)
    twin.says(f"GET /chat/history/{session}", 200, {"session_id": session, "messages": [message], "next_cursor": None})


def saved_session(twin: Twin) -> str:
    from cli.session import find_login

    login = find_login(twin.url)
    assert login is not None
    return login.session


def test_a_terminal_gets_no_control_characters_of_an_answer(twin: Twin) -> None:
    twin.says("POST /chat/message", 200, reply("before\x1b]0;title\x07after"))

    assert "before]0;titleafter" in on_a_terminal(twin, "ask", "hi")
    assert "before\x1b]0;title\x07after" in in_a_file(twin, "ask", "hi")


@pytest.mark.parametrize("words", [["ask"], ["ask", "-"]])
def test_all_of_standard_input_is_one_question(twin: Twin, words: list[str]) -> None:
    twin.says("POST /chat/message", 200, reply("Yes."))

    done = in_a_pipe(twin, *words, given=b"\xef\xbb\xbfWhat is Redis,\r\nand why?\r\n\n")

    assert done.returncode == 0
    assert [body["message"] for body in twin.bodies("POST /chat/message")] == ["What is Redis,\nand why?"]


@pytest.mark.parametrize("given", [b"", b" \n\n"])
def test_an_empty_standard_input_is_a_usage_error(twin: Twin, given: bytes) -> None:
    done = in_a_pipe(twin, "ask", "-", given=given)

    assert done.returncode == 2
    assert done.stderr.decode().strip() == "Standard input is empty: nothing to ask."


def test_nothing_to_ask_on_a_terminal_is_a_usage_error_that_says_how(twin: Twin) -> None:
    assert 'faq ask "What is Redis?"' in on_a_terminal(twin, "ask")


def test_a_byte_that_is_not_utf_8_costs_one_character_and_the_next_question_is_asked(twin: Twin) -> None:
    twin.says("POST /chat/message", 200, reply("Yes."))

    done = in_a_pipe(twin, "chat", given=b"What is caf\xe9?\nWhat is Redis?\n")

    assert done.returncode == 0
    assert [body["message"] for body in twin.bodies("POST /chat/message")] == ["What is caf\ufffd?", "What is Redis?"]
    assert "Line 1 is not UTF-8" in done.stderr.decode()


def test_a_refused_question_in_a_pipe_does_not_keep_the_next_from_being_asked(twin: Twin) -> None:
    twin.says("POST /chat/message", 422, {"code": "invalid_request", "detail": "Too long."})
    twin.says("POST /chat/message", 200, reply("Yes."))

    done = in_a_pipe(twin, "chat", given=b"first\nsecond\n")

    assert done.returncode == 2
    assert "Too long." in done.stderr.decode()
    assert "Yes." in done.stdout.decode()


@pytest.mark.parametrize(
    "words",
    [[b"ask", b"caf\xe9"], [b"history", b"caf\xe9"], [b"login", b"\xff@example.com"]],
)
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_an_argument_that_is_not_utf_8_is_named_in_one_line(twin: Twin, words: list[bytes], locale: str) -> None:
    done = in_a_pipe(twin, *words, FAQ_PASSWORD="x", LC_ALL=locale)

    assert done.returncode == 2
    assert done.stderr.decode().strip() == "What you wrote contains a byte that is not UTF-8, so it cannot be sent."


def test_a_password_that_is_not_utf_8_is_named_in_one_line(twin: Twin) -> None:
    done = in_a_pipe(twin, "login", "ada@example.com", "--password-stdin", given=b"p\xe4ssword\n")

    assert done.returncode == 2
    assert len(done.stderr.decode().splitlines()) == 1


def test_a_file_name_that_is_not_utf_8_is_imported_all_the_same(twin: Twin, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    Path(os.fsdecode(name)).write_text("question,answer\nWhy?,Because.\n")
    rows = {"total": 1, "created": 1, "updated": 0, "unchanged": 0, "failed": 0}
    twin.says("POST /knowledge/import", 202, {"id": "i", "location": "/knowledge/imports/i"})
    twin.says("GET /knowledge/imports/i", 200, {"id": "i", "state": "succeeded", "rows": rows, "errors": []})

    done = in_a_pipe(twin, b"kb", b"import", name)

    assert (done.returncode, done.stderr) == (0, b"")
    assert 'filename="caf?.csv"' in twin.bodies("POST /knowledge/import")[0]


def test_a_character_that_the_locale_lacks_ends_no_command(twin: Twin) -> None:
    twin.says("POST /chat/message", 200, reply("snow \u2603 man"))

    done = in_a_pipe(twin, "ask", "hi", PYTHONIOENCODING="latin-1")

    assert done.returncode == 0
    assert b"snow ? man" in done.stdout
