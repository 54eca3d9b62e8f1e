"""CQL killed with -9 while forty sessions write: what was acknowledged as durable is there when it is back.

The last moments before the kill are what matters: a database that acknowledges before its log is on the disk loses
what it took since its log was last written, a tenth of a second or more, and nothing that was written earlier.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_stack.testing import Stack, running_stack

sys.path.insert(0, str(Path(__file__).parent))

from operations import Product, User

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))
USERS, SESSIONS = 8, 40
STREAMING = 3.0
HEALING = 120.0
"""Seconds of writing before the kill, and seconds until everything works again at most."""
LAST = 0.2
"""Seconds before the kill that are looked at closely."""
PAUSE = 0.1


@dataclass
class Writer:
    """One session: what was acknowledged as durable in it, and when."""

    user: User
    session: str
    durable: dict[str, float] = field(default_factory=dict)

    def write(self, url: str, enough: threading.Event) -> None:
        """Post until it is enough."""
        with Product(url) as product:
            while not enough.is_set():
                text = f"What is Redis? {self.session} {len(self.durable)} {time.monotonic_ns()}"
                body = {"message": text, "session_id": self.session}
                reply = product.send("POST", "/chat/message", body, self.user.token)
                if reply.status_code == 200 and reply.json()["persisted"] == "durable":
                    self.durable[text] = time.monotonic()
                enough.wait(PAUSE)

    def lost(self, product: Product) -> dict[str, float]:
        """What was acknowledged and is not in the history."""
        found = {m["text"] for m in product.history(self.user, self.session) if m["role"] == "user"}
        return {text: at for text, at in self.durable.items() if text not in found}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def users(stack: Stack) -> list[User]:
    with Product(stack.url) as product:
        return [product.newcomer() for _ in range(USERS)]


def kill_while_they_write(stack: Stack, writers: list[Writer]) -> float:
    """Kill the database in the middle of it; the moment of the kill."""
    enough = threading.Event()
    (victim,) = stack.processes("cassandra")
    with ThreadPoolExecutor(len(writers)) as pool:
        writing = [pool.submit(writer.write, stack.url, enough) for writer in writers]
        time.sleep(STREAMING)
        victim.kill()
        killed = time.monotonic()
        time.sleep(LAST)
        enough.set()
        for one in writing:
            one.result()
    return killed


def wait_until_whole(stack: Stack, product: Product) -> None:
    end = time.monotonic() + HEALING
    while stack.processes("cassandra")[0].state != "ready" or product.health()["status"] != "ok":
        assert time.monotonic() < end, "it did not heal"
        time.sleep(0.2)


@pytest.mark.timeout(STREAMING + HEALING + 120)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_what_was_acknowledged_as_durable_survives_the_database(stack: Stack, users: list[User], number: int) -> None:
    writers = [Writer(users[n % USERS], f"kill-{number}-{n}") for n in range(SESSIONS)]

    killed = kill_while_they_write(stack, writers)
    with Product(stack.url) as product:
        wait_until_whole(stack, product)
        lost = [at for writer in writers for at in writer.lost(product).values()]

    acknowledged = [at for writer in writers for at in writer.durable.values()]
    last = [at for at in acknowledged if at >= killed - LAST]  # some are read from the socket after the kill
    ages = ", ".join(f"{1000 * (killed - at):.0f}" for at in sorted(lost))
    print(f"{len(acknowledged)} acknowledged, {len(last)} in the last {LAST:g} s; lost: {len(lost)} ({ages} ms before)")
    assert len(last) >= 5, "hardly anything was written when it was killed: the test proves nothing"
    assert lost == []
