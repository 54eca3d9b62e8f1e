"""What a giant costs its neighbours: 50 small organizations alone, beside a giant that is asked, and one that is built.

    .venv/bin/python tests/load/neighbours.py [--articles 50000] [--seconds 20] [--rounds 3]

Everything goes through the gateway of a stack of its own. The three situations take turns, so that a slow minute of the
machine is in all of them; a figure is the median of the rounds. It ends with 1 when a small organization's p99 beside
the giant is more than 1.5 times that alone.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import newcomers
from generator import Call, Outcome, ask, pace, saturate

from local_stack.testing import running_stack

ARTICLES_OF_A_SMALL_ONE = 40
RATE = 20
"""Questions a second, all small organizations together."""
BUSY_CLIENTS = 2
PROMISED = 1.5
IMPORTED_AT_ONCE = 10_000
PATIENCE = 1_800
SUBJECTS = ("invoice", "password", "parcel", "refund", "contract", "address", "printer", "booking", "licence", "backup")
DEEDS = ("change", "cancel", "find", "print", "move", "renew", "delete", "share", "export", "repair")


def articles(count: int, seed: int) -> list[dict[str, Any]]:
    """Made-up articles with a vocabulary that grows slowly, as that of a real knowledge base does."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        deed, subject = dice.choice(DEEDS), dice.choice(SUBJECTS)
        thing = f"{subject} {dice.randrange(1 + count // 8):x}k"
        made.append(
            {
                "question": f"How do I {deed} the {thing}?",
                "alternatives": [f"{deed} my {thing}", f"where to {deed} {thing} number {number}"],
                "answer": f"Open the page of the {thing}, choose {deed} and confirm.",
                "tags": [subject],
            }
        )
    return made


def bring_in(url: str, token: str, made: Sequence[Mapping[str, Any]]) -> None:
    """Import and publish; returns when all of it answers."""
    for start in range(0, len(made), IMPORTED_AT_ONCE):
        part = made[start : start + IMPORTED_AT_ONCE]
        publish = str(start + IMPORTED_AT_ONCE >= len(made)).lower()
        begun = ask(url, "POST", f"/knowledge/import?publish={publish}", {"articles": part}, token)
        until(
            lambda begun=begun: ask(url, "GET", f"/knowledge/imports/{begun['id']}", token=token)["state"] != "running"
        )
    until(lambda: answers(url, token, made[0]["question"]))


def until(holds: Callable[[], bool]) -> None:
    """Wait for it; a refusal, as of a machine that is busy with the filling, means "not yet"."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        with contextlib.suppress(RuntimeError, OSError):
            if holds():
                return
        time.sleep(0.5)
    raise TimeoutError


def answers(url: str, token: str, question: str) -> bool:
    """Whether the published articles are asked already."""
    return int(ask(url, "POST", "/knowledge/ask", {"question": question}, token)["epoch"]) > 0


def questions(token: str, made: Sequence[Mapping[str, Any]], count: int) -> list[Call]:
    """Calls that nobody caches: the knowledge-service ranks for each."""
    headers = {"Authorization": f"Bearer {token}"}
    asked = [made[number * 7 % len(made)]["question"] for number in range(count)]
    return [Call("POST", "/knowledge/ask", json.dumps({"question": each}).encode(), headers) for each in asked]


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Something else that goes on during the block; the block's end waits for it."""
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1)  # it has begun in earnest before anything is measured
    yield
    thread.join()


def publish(url: str, token: str) -> None:
    """Publish again; it goes on when it takes longer than a request may."""
    with contextlib.suppress(OSError, RuntimeError):
        ask(url, "POST", "/knowledge/publish", {}, token)


def measure(url: str, calls: Sequence[Call], giant: Sequence[Call], token: str, seconds: int) -> dict[str, Outcome]:
    """One round of the three situations."""

    def small() -> Outcome:
        return pace(url, calls, seconds, RATE)

    alone = small()
    with beside(lambda: saturate(url, giant, seconds + 2, BUSY_CLIENTS)):
        asked = small()
    with beside(lambda: publish(url, token)):
        built = small()
    until(lambda: answers(url, token, "How do I change it?"))
    return {"alone": alone, "a giant is asked": asked, "a giant is built": built}


def main() -> int:
    """Start a stack, fill it, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=50_000, help="of the giant")
    parser.add_argument("--small", type=int, default=50, help="organizations beside it")
    parser.add_argument("--seconds", type=int, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="multidb-load-") as name, running_stack(Path(name) / "home") as stack:
        giant, *small = newcomers(stack.url, 1 + options.small)
        bases = [articles(ARTICLES_OF_A_SMALL_ONE, seed) for seed in range(options.small)]
        with ThreadPoolExecutor(4) as several:
            list(several.map(lambda user, made: bring_in(stack.url, user["token"], made), small, bases))
        calls = [call for user, made in zip(small, bases, strict=True) for call in questions(user["token"], made, 20)]
        print(f"{options.small} small organizations are filled", file=sys.stderr)
        made = articles(options.articles, options.small)
        bring_in(stack.url, giant["token"], made)
        print(f"{options.articles} articles of a giant are filled", file=sys.stderr)
        busy = questions(giant["token"], made, 200)
        random.Random(1).shuffle(calls)
        rounds = [measure(stack.url, calls, busy, giant["token"], options.seconds) for _ in range(options.rounds)]
    return report(rounds)


def report(rounds: Sequence[Mapping[str, Outcome]]) -> int:
    """Print the medians; 1 when the promise does not hold."""
    figures = {
        situation: [statistics.median(each[situation].percentile(share) for each in rounds) for share in (0.5, 0.99)]
        for situation in rounds[0]
    }
    alone = figures["alone"][1]
    print(f"{'small organizations, while':28} {'p50 ms':>8} {'p99 ms':>8} {'to alone':>9} {'failed':>7}")
    for situation, (median, slowest) in figures.items():
        failed = sum(each[situation].failed for each in rounds)
        print(f"{situation:28} {median:8.1f} {slowest:8.1f} {slowest / alone:9.2f} {failed:7}")
    holds = all(slowest <= PROMISED * alone for _, slowest in figures.values())
    print(f"{'ok' if holds else 'FAIL'}: p99 beside a giant within {PROMISED} times that alone")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
