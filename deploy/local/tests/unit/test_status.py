"""What `faq status` shows."""

import os
from pathlib import Path

from local_stack.listeners import Listeners
from local_stack.process import Launch
from local_stack.specs import one_shot_spec, service_spec
from local_stack.status import describe, resident
from local_stack.supervised import Supervised

LAUNCH = Launch(name="chat-service", argv=(), log=Path("log"))


def supervised(kind: str = "service") -> Supervised:
    spec = service_spec(LAUNCH, "http://127.0.0.1:1", frozenset())
    if kind == "one-shot":
        spec = one_shot_spec(Launch(name="migrate", argv=(), log=Path("log")), frozenset(), "x")
    return Supervised(spec, report=lambda *_: None, unblocked=lambda _: True, listeners=Listeners())


async def test_a_process_that_does_not_run_has_no_id_and_no_memory() -> None:
    (row, *_) = describe([supervised()], "http://g", {}, 1.4)["processes"]

    assert (row["name"], row["state"], row["pid"], row["rss_mb"]) == ("chat-service", "stopped", None, 0)


async def test_one_shots_are_pending_until_they_are_done_and_no_process_of_their_own() -> None:
    waiting, done = supervised("one-shot"), supervised("one-shot")
    done.skip()

    assert describe([waiting], None, {}, 0)["pending"] == ["migrate"]
    found = describe([done], None, {}, 0)
    assert (found["pending"], [row["name"] for row in found["processes"]]) == ([], ["supervisor"])


async def test_engines_of_the_users_and_the_supervisor_are_listed_too() -> None:
    found = describe([], "http://g", {"postgresql": "postgresql://db:5432"}, 61.6)

    rows = {row["name"]: row for row in found["processes"]}
    assert rows["postgresql"]["url"] == "postgresql://db:5432"
    assert rows["supervisor"]["pid"] == os.getpid()
    assert rows["supervisor"]["rss_mb"] > 1
    assert found["uptime_seconds"] == 62


async def test_a_problem_is_said_once() -> None:
    one = supervised()
    one.problem = "No Java was found"

    assert describe([one, supervised()], None, {}, 0)["problems"] == ["No Java was found"]


def test_nobody_needs_no_memory() -> None:
    assert resident(2**22 + 1) == 0
    assert resident(os.getpid(), with_children=True) >= resident(os.getpid()) - 1
