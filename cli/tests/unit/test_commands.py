import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import EXIT_CODES
from cli.errors import CommandError
from cli.session import find_login, folder, save_login

Faq = Callable[..., Any]
Twin = Any
"""See conftest.py."""
REPLY: dict[str, Any] = {
    "session_id": "s",
    "message_id": "m1",
    "reply": "Redis is an in-memory store.",
    "outcome": "answered",
    "answer": {"article_id": "a", "version": 3, "question": "What is Redis?", "text": "Redis is an in-memory store."},
    "confidence": 0.93,
    "suggestions": [],
    "degraded": [],
}
UNKNOWN = REPLY | {
    "reply": "I do not know.",
    "outcome": "no_answer",
    "answer": None,
    "suggestions": [{"article_id": "b", "question": "What is Valkey?", "confidence": 0.2}],
}
TASK: dict[str, Any] = {
    "task_id": "t1",
    "kind": "analyze",
    "status": "succeeded",
    "progress": {"percent": 100, "step": "done"},
    "result": {"summary": "Quiet.", "report_markdown": "# Report\n\nNothing was asked."},
    "error": None,
    "created_at": "2026-11-25T10:00:00Z",
}


@pytest.mark.usefixtures("logged_in")
def test_an_answer_is_spoken_with_its_confidence_and_source(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 200, REPLY)

    ran = faq("ask", "What", "is", "Redis?")

    assert ran.code == 0
    assert "Redis is an in-memory store." in ran.out
    assert "93% sure" in ran.out
    assert "What is Redis? (version 3)" in ran.out
    assert twin.bodies("POST /chat/message")[0]["message"] == "What is Redis?"


@pytest.mark.usefixtures("logged_in")
def test_what_is_not_known_is_said_with_what_might_fit(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 200, UNKNOWN)

    ran = faq("ask", "hm?")

    assert "I do not know." in ran.out
    assert "What is Valkey?" in ran.out
    assert "sure" not in ran.out


@pytest.mark.usefixtures("logged_in")
def test_json_is_the_reply_alone(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 200, REPLY)

    assert faq("ask", "--json", "What is Redis?").json == REPLY


@pytest.mark.usefixtures("logged_in")
def test_questions_of_one_login_are_one_conversation(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 200, REPLY)
    twin.says("GET /auth/me", 200)

    faq("ask", "one")
    faq("ask", "two")

    first, second = twin.bodies("POST /chat/message")
    assert first["session_id"] == second["session_id"]


def test_without_a_login_it_says_how_to_get_one(faq: Faq) -> None:
    ran = faq("ask", "hi")

    assert ran.code == 3
    assert "faq login" in ran.err


def test_with_nobody_there_it_says_so(faq: Faq) -> None:
    ran = faq("ask", "hi", url="http://127.0.0.1:9")

    assert ran.code == 5
    assert "http://127.0.0.1:9" in ran.err


@pytest.mark.parametrize(
    ("status", "problem", "code"),
    [
        (403, {"code": "forbidden", "detail": "Your role does not allow this."}, 4),
        (404, {"code": "not_found", "detail": "Nothing here."}, 2),
        (422, {"code": "invalid_request", "detail": "No.", "errors": [{"field": "message", "message": "Too long"}]}, 2),
        (429, {"code": "quota_exceeded", "detail": "Used up.", "resets_at": "2026-12-01T00:00:00Z"}, 6),
        (500, {"code": "internal_error", "detail": "Our fault."}, 8),
        (503, {"code": "capability_unavailable", "detail": "Away."}, 8),
        (504, {"code": "deadline_exceeded", "detail": "Too long."}, 7),
    ],
)
@pytest.mark.usefixtures("logged_in")
def test_a_refusal_has_its_exit_code_and_its_words(
    faq: Faq, twin: Twin, status: int, problem: dict[str, Any], code: int
) -> None:
    twin.says("POST /chat/message", status, problem)

    ran = faq("ask", "hi")

    assert ran.code == code
    assert problem["detail"] in ran.err
    assert ran.out == ""


@pytest.mark.usefixtures("logged_in")
def test_a_short_rate_limit_is_waited_out(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 429, {"code": "rate_limited", "retry-after": 1})
    twin.says("POST /chat/message", 200, REPLY)

    assert faq("ask", "hi").code == 0


@pytest.mark.usefixtures("logged_in")
def test_an_expired_token_is_renewed_silently(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 401, {"code": "unauthenticated"})
    twin.says("POST /chat/message", 200, REPLY)
    twin.says("POST /auth/refresh", 200, {"access_token": "access-2", "refresh_token": "refresh-2"})

    assert faq("ask", "hi").code == 0

    login = find_login(twin.url)
    assert login is not None
    assert (login.access_token, login.refresh_token) == ("access-2", "refresh-2")
    assert twin.asked[-1][3] == "Bearer access-2"


@pytest.mark.usefixtures("logged_in")
def test_a_login_that_has_ended_asks_for_a_new_one(faq: Faq, twin: Twin) -> None:
    twin.says("POST /chat/message", 401, {"code": "unauthenticated"})
    twin.says("POST /auth/refresh", 401, {"code": "invalid_refresh_token"})

    ran = faq("ask", "hi")

    assert ran.code == 4
    assert "faq login" in ran.err


def test_registering_logs_in_and_keeps_the_login_for_this_user_alone(
    faq: Faq, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAQ_PASSWORD", "SecurePass123!")
    twin.says(
        "POST /auth/register",
        201,
        {
            "user": {"id": "u"},
            "organization": {"id": "o", "name": "Ada", "plan": "free"},
            "access_token": "a",
            "refresh_token": "r",
        },
    )

    assert faq("register", "ada@example.com").code == 0

    login = find_login(twin.url)
    assert login is not None
    assert login.email == "ada@example.com"
    assert (folder() / "logins.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("logged_in")
def test_logging_out_tells_the_server_and_forgets(faq: Faq, twin: Twin) -> None:
    twin.says("POST /auth/logout", 204)

    assert faq("logout").code == 0

    assert twin.bodies("POST /auth/logout") == [{"refresh_token": "refresh-1"}]
    assert find_login(twin.url) is None


def test_the_same_person_keeps_their_conversation_over_a_new_login() -> None:
    first = save_login("http://a", "ada@example.com", "1", "1")
    again = save_login("http://a/", "ada@example.com", "2", "2")
    other = save_login("http://a", "bob@example.com", "3", "3")

    assert first.session == again.session != other.session


@pytest.mark.usefixtures("logged_in")
def test_a_conversation_not_begun_is_empty_rather_than_an_error(faq: Faq) -> None:
    assert faq("history", "--json").json["messages"] == []


@pytest.mark.usefixtures("logged_in")
def test_the_dashboard_shows_usage_and_health(faq: Faq, twin: Twin) -> None:
    meter = {"used": 45, "limit": 1000, "remaining": 955}
    period = {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}
    usage = {"plan": "free", "period": period, "messages": meter, "tasks": meter | {"limit": None, "remaining": None}}
    twin.says("GET /billing/usage", 200, usage)
    twin.says("GET /health", 200, {"status": "degraded", "capabilities": {"accounts": "ok", "tasks": "unavailable"}})

    ran = faq("dashboard")

    assert "45/1000" in ran.out
    assert "unlimited" in ran.out
    assert "tasks: unavailable" in ran.out


@pytest.mark.usefixtures("logged_in")
def test_an_analysis_is_watched_until_its_report(faq: Faq, twin: Twin) -> None:
    twin.says("POST /tasks/analyze", 202, TASK | {"status": "queued", "result": None})
    twin.says("GET /tasks/t1/status", 200, TASK | {"status": "running", "result": None})
    twin.says("GET /tasks/t1/status", 200, TASK)

    ran = faq("analyze", "volume", "last", "month")

    assert ran.code == 0
    assert "Nothing was asked." in ran.out


@pytest.mark.usefixtures("logged_in")
def test_a_failed_task_ends_with_its_reason(faq: Faq, twin: Twin) -> None:
    twin.says("POST /tasks/research", 202, TASK | {"status": "queued", "result": None})
    failed = TASK | {"status": "failed", "result": None, "error": {"code": "x", "detail": "No data."}}
    twin.says("GET /tasks/t1/status", 200, failed)

    ran = faq("research", "caching")

    assert ran.code == 8
    assert "No data." in ran.err


@pytest.mark.usefixtures("logged_in")
def test_an_import_reports_its_rows(faq: Faq, twin: Twin, tmp_path: Path) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\nWhy?,Because.\n")
    rows = {"total": 2, "created": 1, "updated": 0, "unchanged": 0, "failed": 1}
    report = {
        "id": "i",
        "state": "succeeded",
        "rows": rows,
        "errors": [{"row": 2, "message": "No answer."}],
        "epoch": 4,
    }
    twin.says("POST /knowledge/import", 202, {"id": "i", "location": "/knowledge/imports/i"})
    twin.says("GET /knowledge/imports/i", 200, report)

    ran = faq("kb", "import", str(file), "--publish")

    assert ran.code == 9
    assert "1 created" in ran.out
    assert "row 2: No answer." in ran.out
    assert "epoch 4" in ran.out
    assert "Why?,Because." in twin.bodies("POST /knowledge/import")[0]


@pytest.mark.usefixtures("logged_in")
def test_chat_answers_each_line_of_a_pipe(faq: Faq, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    twin.says("POST /chat/message", 200, REPLY)
    login = find_login(twin.url)
    assert login is not None
    path = f"PUT /chat/sessions/{login.session}/messages/m1/feedback"
    twin.says(path, 200, {})
    lines = "What is Redis?\n/feedback up clear\n/nonsense\n/help\n/quit\nnever asked\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))

    ran = faq("chat")

    assert ran.code == 0
    assert ran.out.count("Redis is an in-memory store.") == 1
    assert twin.bodies(path) == [{"rating": "up", "comment": "clear"}]
    assert "There is no /nonsense" in ran.out
    assert "/dashboard" in ran.out
    assert len(twin.bodies("POST /chat/message")) == 1


@pytest.mark.parametrize("words", [["nonsense"], ["ask", "--nonsense", "hi"], ["history", "--limit", "0"]])
def test_a_wrong_command_line_is_a_usage_error(faq: Faq, words: list[str]) -> None:
    assert faq(*words).code == 2


@pytest.mark.usefixtures("logged_in")
def test_notifications_are_listed_and_read(faq: Faq, twin: Twin) -> None:
    note = {
        "id": "n",
        "title": "Your analysis is done",
        "body": "",
        "data": {"task_id": "t1"},
        "read": False,
        "created_at": "2026-11-25T10:00:00Z",
    }
    twin.says("GET /notifications", 200, {"notifications": [note], "unread": 1, "next_cursor": None})
    twin.says("POST /notifications/read-all", 204)

    ran = faq("notifications", "--read-all")

    assert "Your analysis is done" in ran.out
    assert "faq tasks t1" in ran.out
    assert len(twin.bodies("POST /notifications/read-all")) == 1
    assert json.loads(faq("notifications", "--json").out)["unread"] == 1


def test_the_help_and_the_readme_list_every_exit_code(faq: Faq) -> None:
    codes = {kind.exit_code for kind in CommandError.__subclasses__()} | {0, 130}
    readme = (Path(__file__).parents[3] / "README.md").read_text()

    listed = readme[readme.index("Exit codes: ") :].split("`faq ask -`")[0]

    assert {int(number) for number in re.findall(r"\b\d+\b", listed)} == codes
    assert {int(number) for number in re.findall(r"\b\d+\b", EXIT_CODES)} == codes
    assert "partly done" in faq("--help").out
