"""Two processes of every service: a rolling restart fails nobody, and limits hold for all of them together."""

import itertools
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from local_stack.services import SERVICES
from local_stack.testing import Stack, replicas, running_stack

sys.path.insert(0, str(Path(__file__).parent))

from operations import OPERATIONS, PASSWORD, Product

REQUESTS = 5_000
CALLERS = 8
RESTARTED = (*(service.name for service in SERVICES), "task-worker-worker")
MIX = {
    "send_message": 50,
    "history": 10,
    "sessions": 5,
    "feedback": 5,
    "knowledge_search": 10,
    "knowledge_edit": 3,
    "billing_usage": 5,
    "login": 1,
    "submit_task": 1,
    "task_status": 5,
    "notifications": 5,
}
"""How often each operation is taken, in parts."""

RACERS, RACED = 60, 1_100
FREE_MESSAGES, FREE_RATE, FREE_BURST = 1_000, 5, 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), *replicas(2)) as running:
        yield running


@pytest.fixture
def product(stack: Stack) -> Iterator[Product]:
    with Product(stack.url) as made:
        yield made


@pytest.mark.timeout(420)
def test_a_rolling_restart_of_every_service_fails_no_request(stack: Stack) -> None:
    done = threading.Event()
    sent: Counter[str] = Counter()
    failed: list[str] = []

    def call(number: int) -> None:
        with Product(stack.url) as product:
            call_on(product, random.Random(number))

    def call_on(product: Product, dice: random.Random) -> None:
        user = product.newcomer()
        while not done.is_set():
            (name,) = dice.choices(list(MIX), list(MIX.values()))
            try:
                reply = OPERATIONS[name](product, user)
            except httpx2.HTTPError as error:
                failed.append(f"{name}: {error!r}")
                continue
            sent[name] += 1
            if not reply.is_success:
                failed.append(f"{name}: {reply.status_code} {reply.text[:200]}")

    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(call, number) for number in range(CALLERS)]
        try:
            for service in RESTARTED:
                before = {process.pid for process in stack.processes(service)}
                stack.faq("restart", service)
                after = {process.pid for process in stack.processes(service)}
                assert len(after) == 2
                assert not before & after
            deadline = time.monotonic() + 240
            while sent.total() < REQUESTS and time.monotonic() < deadline:
                time.sleep(0.5)
        finally:
            done.set()
        for caller in callers:
            caller.result()

    print(f"{sent.total()} requests while {2 * len(RESTARTED)} processes were replaced: {dict(sent)}")
    assert failed == []
    assert sent.total() >= REQUESTS


@pytest.mark.timeout(600)
def test_sixty_clients_racing_are_held_to_the_plan(stack: Stack, product: Product) -> None:
    email = f"race-{uuid.uuid4().hex[:12]}@example.com"
    made = product.send("POST", "/auth/register", {"email": email, "password": PASSWORD, "subscription_plan": "free"})
    token = made.raise_for_status().json()["access_token"]
    turn = itertools.count()
    outcomes: Counter[str] = Counter()

    def race(number: int) -> None:
        with Product(stack.url) as client:
            while next(turn) < RACED:
                body = {"message": "What is Redis?", "session_id": f"race-{number}"}
                reply = client.send("POST", "/chat/message", body, token)
                outcomes[reply.json()["outcome"] if reply.is_success else reply.json()["code"]] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(RACERS) as pool:
        for racer in [pool.submit(race, number) for number in range(RACERS)]:
            racer.result()
    took = time.monotonic() - began

    print(f"{dict(outcomes)} in {took:.0f} s")
    assert outcomes == {"answered": FREE_MESSAGES, "quota_exceeded": RACED - FREE_MESSAGES}
    assert FREE_BURST + FREE_RATE * took * 1.1 >= RACED
    time.sleep(3)  # what replicas have charged reaches the ledger within two seconds
    assert product.send("GET", "/billing/usage", token=token).json()["messages"]["used"] == FREE_MESSAGES
