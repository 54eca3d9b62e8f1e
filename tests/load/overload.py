"""`make overload`: five times the load that the machine holds, and what becomes of answers, refusals and /health.

Finds the rate that is held (open model), offers five times as much for a minute, aborts 10,000 requests, and prints
each figure beside its floor; leaves 1 when one is missed. The load comes from processes of their own.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import PASSWORD
from flood import Seen, abort_many, offer
from generator import Call, ask

from local_stack.testing import Stack, running_stack

USERS = 120
"""Organizations on the largest plan: their own rates (100/s each) are not what is measured."""
HELD_P99 = 0.5
"""Seconds: a rate is held while 99 % of the replies come within them and none is refused."""
TIMES = 5
ABORTED = 10_000
QUESTIONS = Path(__file__).parents[1] / "quality" / "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure and its floor."""

    name: str
    measured: float
    floor: float
    unit: str = "ms"
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the floor is kept."""
        return self.measured >= self.floor if self.at_least else self.measured <= self.floor

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "ok  " if self.holds else "FAIL"
        return f"{verdict} {self.name}: {self.measured:.1f} {self.unit} ({sign} {self.floor:g})"


def newcomers(url: str, count: int) -> list[dict[str, str]]:
    """New users, each of an organization and at an address of their own: registrations are limited by address."""
    made = []
    for number in range(count):
        email = f"load-{uuid.uuid4().hex[:12]}@example.com"
        body = {"email": email, "password": PASSWORD, "subscription_plan": "enterprise"}
        reply = ask(url, "POST", "/auth/register", body, headers={"X-Forwarded-For": f"198.18.0.{number + 1}"})
        made.append({"email": email, "token": reply["access_token"], "address": f"198.18.0.{number + 1}"})
    return made


def mix(users: Sequence[dict[str, str]], logins: Sequence[dict[str, str]], seed: int) -> list[Call]:
    """What people do, in a row: mostly questions, most of them asked before; searches, reads, a login now and then."""
    choose = random.Random(seed)
    questions = [json.loads(line)["question"] for line in QUESTIONS.read_text().splitlines()]
    return [_call(choose, questions, choose.choice(users), choose.choice(logins)) for _ in range(4000)]


def _call(choose: random.Random, questions: list[str], user: dict[str, str], login: dict[str, str]) -> Call:
    bearer = {"Authorization": f"Bearer {user['token']}"}
    kind = choose.random()
    if kind < 0.70:
        text = questions[min(len(questions) - 1, int(choose.paretovariate(0.7)))]
        return Call("POST", "/chat/message", json.dumps({"message": text, "session_id": "load"}).encode(), bearer)
    if kind < 0.78:
        text = f"How does {uuid.UUID(int=choose.getrandbits(128)).hex[:6]} help with caching?"
        return Call("POST", "/chat/message", json.dumps({"message": text, "session_id": "load"}).encode(), bearer)
    if kind < 0.88:
        return Call("GET", f"/knowledge/search?q=redis+cache+{choose.randrange(50)}", None, bearer)
    if kind < 0.93:
        return Call("GET", "/chat/history/load?limit=20", None, bearer)
    if kind < 0.96:
        return Call("GET", "/analytics/summary", None, bearer)
    if kind < 0.99:
        return Call("GET", "/notifications", None, bearer)
    body = {"email": login["email"], "password": PASSWORD}
    return Call("POST", "/auth/login", json.dumps(body).encode(), {"X-Forwarded-For": login["address"]})


def held_rate(url: str, calls: list[Call], seconds: float) -> float:
    """The highest rate, in steps of an eighth, at which nothing is refused and the slowest stay in time."""
    rate, held = 100.0, 0.0
    while True:
        seen = offer(url, calls, seconds, rate)
        print(
            f"  {rate:6.0f}/s: p99 {seen.good(0.99):6.0f} ms, refused {seen.refused_count}, lost {seen.lost}",
            flush=True,
        )
        if seen.good(0.99) > HELD_P99 * 1000 or seen.refused_count or seen.lost:
            return held or rate / 2
        held, rate = rate, rate * 1.25


def overload(url: str, calls: list[Call], rate: float, seconds: float) -> tuple[Seen, Seen]:
    """Everybody, and /health beside them once every 100 ms."""
    health = [Call("GET", "/health")]
    with ProcessPoolExecutor(1) as beside:
        watched = beside.submit(offer, url, health, seconds, 10.0, 8)
        seen = offer(url, calls, seconds, rate)
        return seen, watched.result()


def recovery(url: str, calls: list[Call], rate: float) -> float:
    """Seconds after the overload until a second's p99 is back within what is held."""
    began = time.monotonic()
    while (took := time.monotonic() - began) < 30:
        seen = offer(url, calls, 1.0, rate / 2)
        if seen.good(0.99) <= HELD_P99 * 1000 and not seen.refused_count and not seen.lost:
            return took
    return took


def restarts(stack: Stack) -> int:
    """How often any process of the stack was started again."""
    return sum(process.restarts for process in stack.processes())


def figures(stack: Stack, seconds: float, trial: float) -> Iterator[Figure]:
    """Everything that is promised, in the order in which it is measured."""
    people = newcomers(stack.url, USERS)
    calls = mix(people, people, seed=1)
    offer(stack.url, calls, trial, 50.0)
    held = held_rate(stack.url, calls, trial)
    print(f"held: {held:.0f}/s; offered now: {held * TIMES:.0f}/s for {seconds:.0f} s")
    before = restarts(stack)
    seen, health = overload(stack.url, calls, held * TIMES, seconds)
    yield Figure("good replies of what is held", seen.good_count / seconds / held, 0.9, "x", at_least=True)
    yield Figure("good replies, p99", seen.good(0.99), 1000)
    yield Figure("refusals, p99", seen.refusals(0.99), 250)
    yield Figure("refusals that say when to come back", seen.told / max(1, seen.refused_count), 1, "x", at_least=True)
    yield Figure("/health, slowest", health.good(1.0), 500)
    yield Figure("/health not answered", health.refused_count + health.lost, 0, "")
    yield Figure("resets and replies that never came", seen.lost, 0, "")
    if seen.other:
        print(f"  other statuses: {dict(seen.other)}")
    yield Figure("other errors", seen.other.total(), 0, "")
    yield Figure("p99 back after", recovery(stack.url, calls, held), 10, "s")
    began = time.monotonic()
    abort_many(stack.url, calls, ABORTED)
    print(f"aborted {ABORTED} requests in {time.monotonic() - began:.1f} s")
    hundred = offer(stack.url, calls[:100], 1.0, 100.0)
    yield Figure("after the aborted ones, slowest of a hundred", hundred.good(1.0), 500)
    yield Figure("of those not answered", hundred.refused_count + hundred.lost, 0, "")
    yield Figure("restarted processes", restarts(stack) - before, 0, "")


def main() -> None:
    """Start a stack of its own, measure, print, leave 1 on a miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--trial", type=float, default=8, help="seconds of each step on the way to the held rate")
    options = parser.parse_args()
    environment = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
    with (
        tempfile.TemporaryDirectory(prefix="multidb-overload-") as name,
        running_stack(Path(name) / "home", environment=environment) as stack,
    ):
        found = []
        for figure in figures(stack, options.seconds, options.trial):
            print(figure, flush=True)
            found.append(figure)
    sys.exit(0 if all(figure.holds for figure in found) else 1)


if __name__ == "__main__":
    main()
