"""Mixed traffic for five minutes under a kill every ten seconds: nothing acknowledged is lost or doubled."""

import itertools
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from local_stack.testing import Stack, running_stack

sys.path.insert(0, str(Path(__file__).parent))

from operations import Product, User

SECONDS = int(os.environ.get("CHAOS_SECONDS", "300"))
KILL_EVERY = 10
USERS = 6
WRITES = 2_000 * SECONDS // 300
PAUSE = SECONDS * USERS / (WRITES * 1.6)
VICTIMS = (
    "cassandra",
    "postgresql",
    "redis-data",
    "redis-cache",
    "chat-service",
    "knowledge-service",
    "auth-service",
    "notification-service",
    "task-worker",
    "task-worker-worker",
    "gateway",
)


@dataclass
class Ledger:
    """What was acknowledged to one user, and what was refused."""

    user: User
    texts: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), "--replicas", "chat-service=2") as running:
        yield running


@pytest.fixture
def product(stack: Stack) -> Iterator[Product]:
    with Product(stack.url) as made:
        yield made


def converse(url: str, ledger: Ledger, until: float) -> None:
    """One user's traffic: messages, now and then a task."""
    with Product(url) as product:
        _converse(product, ledger, until)


def _converse(product: Product, ledger: Ledger, until: float) -> None:
    for number in itertools.count():
        if time.monotonic() > until:
            return
        text = f"What is Redis? {ledger.user.session} {number}"
        try:
            if number % 60 == 30:
                reply = product.send("POST", "/tasks/analyze", {"description": "volume by day"}, ledger.user.token)
                if reply.status_code == 202:
                    ledger.tasks.append(reply.json()["task_id"])
            else:
                body = {"message": text, "session_id": ledger.user.session}
                reply = product.send("POST", "/chat/message", body, ledger.user.token)
                if reply.status_code == 200:
                    ledger.texts.append(text)
                    if reply.json()["outcome"] == "answered":
                        ledger.answered.append(reply.json()["message_id"])
        except httpx2.HTTPError:
            ledger.refused[0] += 1  # the gateway itself was killed: nothing was acknowledged
        else:
            ledger.refused[reply.status_code] += 1
            if reply.status_code not in (200, 202, 502, 503, 504):
                ledger.unexpected.append(f"{reply.status_code} {reply.text[:200]}")
        time.sleep(PAUSE)


def kill_something(stack: Stack, until: float) -> list[str]:
    """A random victim every ten seconds, killed outright or frozen for five seconds."""
    chosen: list[str] = []
    dice = random.Random(20_261_125)
    while time.monotonic() < until - KILL_EVERY:
        time.sleep(KILL_EVERY)
        name = dice.choice(VICTIMS)
        frozen = name != "gateway" and dice.random() < 0.3
        chosen.append(f"{name} {'frozen' if frozen else 'killed'}")
        victims = [process for process in stack.processes(name) if process.pid]
        victim = dice.choice(victims) if victims else None
        if victim is None:
            continue
        victim.kill(signal.SIGSTOP if frozen else signal.SIGKILL)
        if frozen:
            time.sleep(5)
            victim.kill(signal.SIGCONT)
    return chosen


@pytest.mark.timeout(SECONDS + 400)
def test_nothing_acknowledged_is_lost_or_doubled(stack: Stack, product: Product) -> None:
    ledgers = [Ledger(product.newcomer()) for _ in range(USERS)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=converse, args=(stack.url, ledger, until)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    kills = kill_something(stack, until)
    for thread in threads:
        thread.join()

    deadline = time.monotonic() + 120
    while product.health()["status"] != "ok" and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(15)

    acknowledged = sum(len(ledger.texts) + len(ledger.tasks) for ledger in ledgers)
    print(f"{acknowledged} writes acknowledged under {len(kills)} faults: {', '.join(kills)}")
    print(f"replies by status: {sum((ledger.refused for ledger in ledgers), Counter())}")
    assert [text for ledger in ledgers for text in ledger.unexpected] == []
    for ledger in ledgers:
        check_messages(product, ledger)
        check_tasks(product, ledger)
    assert acknowledged >= WRITES


def check_messages(product: Product, ledger: Ledger) -> None:
    asked = Counter(m["text"] for m in product.history(ledger.user, ledger.user.session) if m["role"] == "user")
    lost = [text for text in ledger.texts if asked[text] == 0]
    doubled = [text for text in ledger.texts if asked[text] > 1]
    assert (lost, doubled) == ([], [])
    used = product.send("GET", "/billing/usage", token=ledger.user.token).json()["messages"]["used"]
    answers = {m["id"] for m in product.history(ledger.user, ledger.user.session) if m.get("outcome") == "answered"}
    assert set(ledger.answered) <= answers
    assert used == len(answers)


def check_tasks(product: Product, ledger: Ledger) -> None:
    def states() -> Counter[str]:
        return Counter(
            product.send("GET", f"/tasks/{task}/status", token=ledger.user.token).json().get("status")
            for task in ledger.tasks
        )

    deadline = time.monotonic() + 90
    while set(states()) - {"succeeded"} and time.monotonic() < deadline:
        time.sleep(1)
    assert set(states()) <= {"succeeded"}
    told: Counter[str] = Counter()
    cursor = ""
    while True:
        page = product.send("GET", f"/notifications?limit=100{cursor}", token=ledger.user.token).json()
        told.update(note["data"]["task_id"] for note in page["notifications"] if note["type"] == "task.succeeded")
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert {task: told[task] for task in ledger.tasks} == dict.fromkeys(ledger.tasks, 1)
