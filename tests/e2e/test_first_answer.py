"""What a newcomer does, on the whole stack: through the gateway and the command line."""

import json
import time
from typing import Any

import httpx2

from local_stack.services import SERVICES
from local_stack.testing import Stack
from shared.testing import eventually_blocking


def test_a_question_is_answered_remembered_and_charged(client: httpx2.Client) -> None:
    reply = client.post("/chat/message", json={"message": "What is Redis?", "session_id": "optional-session-id"}).json()
    history = client.get("/chat/history/optional-session-id").json()["messages"]

    assert reply["outcome"] == "answered"
    assert reply["answer"]["text"] in reply["reply"]
    assert reply["persisted"] == "durable"
    assert [message["role"] for message in history] == ["user", "assistant"]
    assert history[1]["id"] == reply["message_id"]
    eventually_blocking(lambda: client.get("/billing/usage").json()["messages"]["used"] == 1)


def test_what_nobody_wrote_down_is_not_answered_and_not_charged(client: httpx2.Client) -> None:
    reply = client.post("/chat/message", json={"message": "How do I knit a submarine out of moonlight?"}).json()

    assert reply["outcome"] in ("no_answer", "clarify")
    assert reply["answer"] is None
    assert reply["reply"]
    time.sleep(1.5)
    assert client.get("/billing/usage").json()["messages"]["used"] == 0


def test_a_published_article_answers_on_every_replica_within_two_seconds(client: httpx2.Client) -> None:
    article = {"question": "How do I descale the Brumelix kettle?", "alternatives": [], "answer": "Use vinegar."}
    client.post("/knowledge/articles", json=article).raise_for_status()
    client.post("/knowledge/publish").raise_for_status()
    time.sleep(2)

    replies = [client.post("/chat/message", json={"message": "how to descale the brumelix kettle"}) for _ in range(8)]

    assert {reply.json()["reply"] for reply in replies} == {"Use vinegar."}


def test_every_replica_of_every_service_is_ready(stack: Stack) -> None:
    processes = stack.processes()

    eventually_blocking(lambda: {p.state for p in stack.processes()} == {"ready"})
    assert {service.name: [p.replica for p in processes if p.name == service.name] for service in SERVICES} == {
        service.name: [1, 2] for service in SERVICES
    }
    assert [p.name for p in processes if p.restarts] == []


def test_a_killed_replica_costs_no_request(stack: Stack, client: httpx2.Client) -> None:
    failed = []
    for number in range(300):
        if number == 100:
            stack.processes("chat-service")[0].kill()
        reply = client.post("/chat/message", json={"message": "What is Redis?", "session_id": "kill"})
        if reply.status_code == 429:
            time.sleep(float(reply.headers["retry-after"]))
        elif reply.status_code != 200:
            failed.append((number, reply.status_code, reply.text))

    assert failed == []
    eventually_blocking(lambda: all(p.state == "ready" for p in stack.processes("chat-service")), 15)


def test_a_task_ends_in_a_report_and_one_notification(client: httpx2.Client) -> None:
    task = client.post("/tasks/analyze", json={"description": "Analyze sales trends Q4 2024"})
    assert task.status_code == 202

    def status() -> dict[str, Any]:
        return dict(client.get(f"/tasks/{task.json()['task_id']}/status").json())

    eventually_blocking(lambda: status()["status"] == "succeeded", 30)
    assert "2024" in status()["result"]["report_markdown"]
    eventually_blocking(lambda: client.get("/notifications").json()["unread"] == 1)


def test_one_openapi_document_speaks_for_every_service(client: httpx2.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    for path in ("/auth/register", "/chat/message", "/knowledge/publish", "/tasks/{task_id}/status", "/notifications"):
        assert path in paths
    assert "<html" in client.get("/docs").text.lower()
    assert not any(path.startswith("/internal") for path in paths)


def test_the_command_line_asks_and_answers(stack: Stack) -> None:
    asked = stack.faq("ask", "--json", "What is Redis?")
    spoken = stack.faq("ask", "How do I get my money back?")
    history = json.loads(stack.faq("history", "--json").stdout)

    assert json.loads(asked.stdout)["outcome"] == "answered"
    assert "refund" in spoken.stdout.lower()
    assert history


def test_the_command_line_says_what_went_wrong_by_its_exit_code(stack: Stack) -> None:
    assert stack.faq("ask", "hi", "--nonsense", check=False).returncode == 2
    assert stack.faq("--url", "http://127.0.0.1:9", "ask", "hi", check=False).returncode == 5


def test_health_sums_up_every_service_and_database(client: httpx2.Client) -> None:
    health = eventually_blocking(lambda: (h := client.get("/health").json())["status"] == "ok" and h)

    assert health
    assert set(health["services"]) >= {"auth-service", "chat-service", "knowledge-service", "notification-service"}
    assert {state["status"] for state in health["databases"].values()} == {"ok"}
