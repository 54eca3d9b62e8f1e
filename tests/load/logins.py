"""Logins under a flood of wrong ones, and whether a wrong login tells by its time that an address has an account.

`python tests/load/logins.py`: every attempt comes from an address of its own in 127.0.0.0/8.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from local_stack.testing import running_stack

PASSWORD = "SecurePass123!"
HOME = "127.0.0.1"
GUESSES = 9
"""Wrong logins of one account: the tenth within a quarter of an hour is not judged any more."""
TIMEOUT = 15
KNOWN_P99, REFUSED_P99 = 1_000, 250
UNDECIDED = (0.45, 0.55)
"""Between them an AUC of 400 pairs is chance: its standard deviation is 0.02."""


def addresses() -> Iterator[str]:
    """Addresses that nobody used before."""
    for number in itertools.count(2**16 + random.randrange(2**20)):
        yield f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number % 254 + 1}"


@dataclass(slots=True)
class Tally:
    """What came of attempts of one kind: seconds by status."""

    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def p99(self, *statuses: int) -> float:
        """Milliseconds that 99 % of the replies with these statuses took at most; 0 without any."""
        took = sorted(one for status in statuses for one in self.seconds.get(status, ()))
        return took[int(0.99 * (len(took) - 1))] * 1_000 if took else 0.0

    @property
    def statuses(self) -> dict[int, int]:
        """How many replies had each status; 0 is none in time."""
        return {status: len(took) for status, took in sorted(self.seconds.items())}


class Server:
    """A gateway, asked over a new connection from a given address each time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or HOME, parts.port or 80

    async def post(self, path: str, body: dict[str, str], address: str) -> tuple[int, float]:
        """The status, 0 when there was none in time, and the seconds from request to reply."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=(address, 0))
                began = time.perf_counter()
                writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
                line = await reader.readline()
                took = time.perf_counter() - began
                writer.close()
        except (OSError, TimeoutError):
            return 0, float(TIMEOUT)
        return (int(line.split()[1]) if line else 0), took

    async def login(self, email: str, password: str, address: str, tally: Tally) -> None:
        """Count one login."""
        status, took = await self.post("/auth/login", {"email": email, "password": password}, address)
        tally.seconds[status].append(took)

    async def registered(self, count: int) -> list[str]:
        """E-mail addresses of new accounts, all used from HOME alone."""
        emails = [f"login-{uuid.uuid4().hex[:12]}@example.com" for _ in range(count)]
        for email in emails:
            status, _ = await self.post("/auth/register", {"email": email, "password": PASSWORD}, HOME)
            if status != 201:
                raise RuntimeError(f"a registration gave {status}")
            await asyncio.sleep(1)  # one address may register 60 accounts a minute
        return emails


async def flood(server: Server, emails: Sequence[str], *, rate: float, seconds: float) -> dict[str, Tally]:
    """Open model: wrong logins of nobody at `rate`, and two right ones a second from home and from elsewhere."""
    tallies = {name: Tally() for name in ("wrong", "right, known address", "right, new address")}
    sources, running = addresses(), set()
    wrong, known, new = tallies.values()
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        while sent < elapsed * rate:
            calls = [server.login(f"{uuid.uuid4().hex}@example.com", "a wrong guess", next(sources), wrong)]
            if sent % max(1, int(rate / 2)) == 0:
                email = random.choice(emails)
                calls += [server.login(email, PASSWORD, HOME, known), server.login(email, PASSWORD, next(sources), new)]
            running |= {asyncio.create_task(call) for call in calls}
            sent += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*running)
    return tallies


async def auc(server: Server, emails: Sequence[str], pairs: int) -> float:
    """The chance that a wrong login of an account takes longer than one of nobody; 0.5 tells nothing."""
    sources, took = addresses(), {True: Tally(), False: Tally()}
    for email in list(emails)[: -(-pairs // GUESSES)] * GUESSES:
        for has_account in random.sample((True, False), 2):
            who = email if has_account else f"login-{uuid.uuid4().hex[:12]}@example.com"
            await server.login(who, "a wrong guess", next(sources), took[has_account])
    known, unknown = took[True].seconds[401], took[False].seconds[401]
    wins = sum((one > other) + (one == other) / 2 for one in known for other in unknown)
    return wins / (len(known) * len(unknown))


async def measure(url: str, options: argparse.Namespace) -> bool:
    """Print what was measured; whether every promise holds."""
    server = Server(url)
    emails = await server.registered(-(-options.pairs // GUESSES))
    told = await auc(server, emails, options.pairs)
    tallies = await flood(server, emails, rate=options.rate, seconds=options.seconds)
    print(f"\nwrong logins of accounts and of nobody: AUC {told:.3f} over {options.pairs} pairs")
    print(f"\nlogins under flood ({options.rate:g} wrong ones a second for {options.seconds:g} s)\n")
    print("| login | statuses | judged p99 | refused p99 |\n|---|---|---|---|")
    for name, tally in tallies.items():
        print(f"| {name} | {tally.statuses} | {tally.p99(200, 401):.0f} ms | {tally.p99(429, 503):.0f} ms |")
    statuses = sum((Counter(tally.statuses) for tally in tallies.values()), Counter())
    known = tallies["right, known address"]
    promises = {
        f"an AUC between {UNDECIDED[0]} and {UNDECIDED[1]}": UNDECIDED[0] <= told <= UNDECIDED[1],
        "every right login from a known address succeeds": set(known.statuses) == {200},
        f"it takes at most {KNOWN_P99} ms (p99)": known.p99(200) <= KNOWN_P99,
        f"a refusal takes at most {REFUSED_P99} ms (p99)": max(t.p99(503) for t in tallies.values()) <= REFUSED_P99,
        "nothing but 200, 401, 429 and 503": set(statuses) <= {200, 401, 429, 503},
    }
    for promise, holds in promises.items():
        print(f"{'holds' if holds else 'MISSED'}: {promise}")
    return all(promises.values())


def main() -> None:
    """Measure a stack of its own, or the one that --url names; leave 1 when a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pairs", type=int, default=405)
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.url:
        sys.exit(0 if asyncio.run(measure(options.url, options)) else 1)
    with tempfile.TemporaryDirectory(prefix="multidb-logins-") as name, running_stack(Path(name) / "home") as stack:
        held = asyncio.run(measure(stack.url, options))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
