"""Who uses the product, for locust: visitors who ask, owners who curate, integrators who call the API.

Reads MULTIDB_LOAD (JSON: owners' e-mail addresses, tokens and password, seconds of warm-up) made by `load.py`. What is
measured before the end of the warm-up is thrown away: an answer cache that was empty a moment ago is not realistic.
"""

import itertools
import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, between, events, task
from locust.env import Environment

ACCOUNTS = json.loads(os.environ["MULTIDB_LOAD"])
QUESTIONS = [
    json.loads(line)["question"]
    for line in (Path(__file__).parents[1] / "quality" / "questions.jsonl").read_text().splitlines()
]
OPENINGS = ("", "hi, ", "hello, ", "please: ", "quick question: ", "could you tell me, ", "hey, ", "sorry, ")
PHRASINGS = [opening + question for opening, question in itertools.product(OPENINGS, QUESTIONS)]
ZIPF = list(itertools.accumulate(1 / rank for rank in range(1, len(PHRASINGS) + 1)))
random.Random(7).shuffle(PHRASINGS)
QUESTIONS_A_SECOND = 2
turn = itertools.count()


@events.test_start.add_listener
def forget_the_warm_up(environment: Environment, **_: Any) -> None:
    """Begin to count when the caches hold what they usually hold."""
    gevent.spawn_later(ACCOUNTS["warm_up"], environment.stats.reset_all)


class Account(FastHttpUser):
    """Somebody logged in as one of the load accounts."""

    abstract = True

    def on_start(self) -> None:
        """Take the next account."""
        self.account = ACCOUNTS["owners"][next(turn) % len(ACCOUNTS["owners"])]
        self.headers = {"Authorization": f"Bearer {self.account['token']}"}
        self.session = uuid.uuid4().hex


class Visitor(Account):
    """Asks twice a second on average, at random moments; which question follows Zipf's law over all phrasings."""

    weight = 20

    def wait_time(self) -> float:
        """Seconds to the next question: visitors do not ask in step with one another."""
        return random.expovariate(QUESTIONS_A_SECOND)

    @task
    def ask(self) -> None:
        """One message; answers from a cache and others are counted apart."""
        text = random.choices(PHRASINGS, cum_weights=ZIPF)[0]
        with self.client.post(
            "/chat/message",
            json={"message": text, "session_id": self.session},
            headers=self.headers,
            name="message",
            catch_response=True,
        ) as reply:
            if reply.status_code == 200:
                cached = (reply.json() or {}).get("cache") in ("process", "redis")
                reply.request_meta["name"] = "cached message" if cached else "knowledge query (message)"
                reply.success()


class Owner(Account):
    """Reads and edits now and then; publishes rarely, since that empties the cache."""

    weight = 2
    wait_time = between(1, 3)

    @task(5)
    def search(self) -> None:
        """Look something up."""
        self.client.get(
            f"/knowledge/search?q=redis+cache+{random.randrange(50)}",
            headers=self.headers,
            name="knowledge query (search)",
        )

    @task(2)
    def analytics(self) -> None:
        """Read the summary."""
        self.client.get("/analytics/summary", headers=self.headers, name="analytics")

    @task(1)
    def draft(self) -> None:
        """Draft an article."""
        body = {"question": f"What is {uuid.uuid4().hex}?", "alternatives": [], "answer": "A thing.", "tags": ["load"]}
        self.client.post("/knowledge/articles", json=body, headers=self.headers, name="draft")


class Integrator(Account):
    """Logs in, submits tasks, reads what came of them."""

    weight = 2
    wait_time = between(1, 3)

    @task(2)
    def login(self) -> None:
        """A right password."""
        body = {"email": self.account["email"], "password": ACCOUNTS["password"]}
        self.client.post("/auth/login", json=body, name="authentication")

    @task(1)
    def submit(self) -> None:
        """An analysis."""
        self.client.post(
            "/tasks/analyze", json={"description": "volume by day"}, headers=self.headers, name="submission"
        )

    @task(2)
    def inbox(self) -> None:
        """What is new."""
        self.client.get("/notifications", headers=self.headers, name="notifications")
