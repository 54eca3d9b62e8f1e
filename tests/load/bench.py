"""`make bench`: CPU per request and latency of the main paths, beside yardsticks, interleaved in one run.

CPU is user+system time of the serving processes (engines left out), divided by the requests answered, at saturation;
the figure is the median of the rounds. Latency is measured at the client with a paced (open) load.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from delivery import delivery
from generator import Call, Outcome, ask, pace, saturate

from local_stack.ports import free_port
from local_stack.testing import Stack, running_stack

HERE = Path(__file__).parent
USERS = 24
FRESH = 5_000
"""Questions never asked before, made for each measurement: more than it has time for."""
CACHED = b'{"message":"What is Redis?","session_id":"bench"}'
PASSWORD = "SecurePass123!"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A path to measure: its calls, where they go, and the processes whose CPU it costs."""

    name: str
    url: str
    calls: Callable[[], Sequence[Call]]
    processes: Callable[[], Sequence[psutil.Process]]
    rate: float = 20
    parts: Mapping[str, Callable[[], Sequence[psutil.Process]]] = field(default_factory=dict)


def cpu(processes: Sequence[psutil.Process]) -> float:
    """Seconds of CPU used so far, threads included."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def members(stack: Stack, *names: str) -> Callable[[], Sequence[psutil.Process]]:
    """The serving processes of these names."""
    found = [psutil.Process(p.pid) for name in names for p in stack.processes(name) if p.pid]
    return lambda: found


def newcomers(url: str, count: int, plan: str = "enterprise") -> list[dict[str, str]]:
    """E-mail address and token of new users, each of an organization of their own."""
    made = []
    for _ in range(count):
        email = f"bench-{uuid.uuid4().hex[:12]}@example.com"
        reply = ask(url, "POST", "/auth/register", {"email": email, "password": PASSWORD, "subscription_plan": plan})
        made.append({"email": email, "token": reply["access_token"]})
    return made


def _bearer(user: Mapping[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {user['token']}"}


def scenarios(stack: Stack, users: Sequence[Mapping[str, str]]) -> list[Scenario]:
    """The product's own paths."""
    for user in users:
        for _ in range(25):
            ask(stack.url, "POST", "/chat/message", {"message": "What is Redis?", "session_id": "bench"}, user["token"])
    chat = members(stack, "gateway", "chat-service")
    knowledge = members(stack, "gateway", "chat-service", "knowledge-service")
    cached = [Call("POST", "/chat/message", CACHED, _bearer(u)) for u in users]
    login = [Call("POST", "/auth/login", f'{{"email":"{users[0]["email"]}","password":"{PASSWORD}"}}'.encode())]
    history = [Call("GET", "/chat/history/bench?limit=50", None, _bearer(u)) for u in users]
    search = [
        Call("GET", f"/knowledge/search?q=how+do+i+{number}+cache", None, _bearer(users[number % len(users)]))
        for number in range(200)
    ]

    def uncached() -> list[Call]:
        return [
            Call(
                "POST",
                "/chat/message",
                f'{{"message":"How does caching help {uuid.uuid4().hex[:6]}?"}}'.encode(),
                _bearer(users[number % len(users)]),
            )
            for number in range(FRESH)
        ]

    return [
        Scenario(
            "cached message",
            stack.url,
            lambda: cached,
            chat,
            rate=50,
            parts={"gateway": members(stack, "gateway"), "chat-service": members(stack, "chat-service")},
        ),
        Scenario("uncached message", stack.url, uncached, knowledge),
        Scenario("knowledge search", stack.url, lambda: search, members(stack, "gateway", "knowledge-service")),
        Scenario("history page of 50", stack.url, lambda: history, chat),
        Scenario("login", stack.url, lambda: login, members(stack, "gateway", "auth-service"), rate=5),
    ]


def submission(stack: Stack, users: Sequence[Mapping[str, str]]) -> Scenario:
    """Background tasks; measured after everything else, since the workers go on for a while."""
    calls = [Call("POST", "/tasks/analyze", b'{"description":"volume by day"}', _bearer(user)) for user in users]
    return Scenario("task submission", stack.url, lambda: calls, members(stack, "gateway", "task-worker"), rate=5)


@contextlib.contextmanager
def yardsticks(stack: Stack, user: Mapping[str, str], folder: Path) -> Iterator[list[Scenario]]:
    """Bare FastAPI with one Redis GET, and nginx in front of it where nginx is installed."""
    bare, verifier, plain, auth = (free_port() for _ in range(4))
    with urllib.request.urlopen(f"{stack.url}/.well-known/jwks.json", timeout=5) as reply:  # noqa: S310 - our own gateway
        jwks = reply.read().decode()
    redis = next(p.url for p in stack.processes("redis-cache") if p.url)
    environment = {**os.environ, "YARDSTICK_REDIS_URL": redis, "YARDSTICK_JWKS": jwks}
    serve = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--app-dir"]
    commands = {
        "bare": [*serve, str(HERE / "yardsticks"), "--port", str(bare), "bare:app"],
        "verifier": [*serve, str(HERE / "yardsticks"), "--port", str(verifier), "verifier:app"],
    }
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx:
        ports = {"BARE_PORT": bare, "VERIFIER_PORT": verifier, "PLAIN_PORT": plain, "AUTH_PORT": auth, "FOLDER": folder}
        text = (HERE / "yardsticks" / "nginx.conf").read_text()
        for name, value in ports.items():
            text = text.replace(name, str(value))
        (folder / "nginx.conf").write_text(text)
        commands["nginx"] = [nginx, "-c", str(folder / "nginx.conf")]
    running = {name: subprocess.Popen(command, env=environment) for name, command in commands.items()}
    try:
        time.sleep(3)
        yield list(_yardstick_scenarios(running, _bearer(user), bare=bare, plain=plain, auth=auth))
    finally:
        for process in running.values():
            process.terminate()
            process.wait(10)


def _yardstick_scenarios(
    running: Mapping[str, subprocess.Popen[bytes]], token: dict[str, str], *, bare: int, plain: int, auth: int
) -> Iterator[Scenario]:
    processes = {name: psutil.Process(process.pid) for name, process in running.items()}

    def call() -> list[Call]:
        return [Call("GET", "/", None, token)]

    yield Scenario("bare FastAPI + Redis GET", f"http://127.0.0.1:{bare}", call, lambda: [processes["bare"]], rate=50)
    if "nginx" in processes:
        yield Scenario("nginx, plain proxy", f"http://127.0.0.1:{plain}", call, lambda: [processes["nginx"]], rate=50)
        yield Scenario(
            "nginx + auth_request(PyJWT)",
            f"http://127.0.0.1:{auth}",
            call,
            lambda: [processes["nginx"], processes["verifier"]],
            rate=50,
        )


@dataclass
class Row:
    """What was measured of one scenario."""

    cpu_us: list[float] = field(default_factory=list)
    parts_us: dict[str, list[float]] = field(default_factory=dict)
    per_second: list[float] = field(default_factory=list)
    failed: int = 0
    paced: Outcome | None = None


def measure(every: Sequence[Scenario], rounds: int, seconds: float) -> dict[str, Row]:
    """All scenarios, one after another, `rounds` times after one that only warms up; then each paced."""
    rows = {scenario.name: Row() for scenario in every}
    for scenario in every:
        saturate(scenario.url, scenario.calls(), seconds)
    for _ in range(rounds):
        for scenario in every:
            _saturated(scenario, rows[scenario.name], seconds)
    for scenario in every:
        row = rows[scenario.name]
        row.paced = pace(scenario.url, scenario.calls(), seconds * 2, scenario.rate)
        row.failed += row.paced.failed
    return rows


def _saturated(scenario: Scenario, row: Row, seconds: float) -> None:
    calls = scenario.calls()
    before = cpu(scenario.processes())
    parts_before = {name: cpu(processes()) for name, processes in scenario.parts.items()}
    outcome = saturate(scenario.url, calls, seconds)
    row.failed += outcome.failed
    if not outcome.count:
        return
    row.cpu_us.append((cpu(scenario.processes()) - before) / outcome.count * 1e6)
    for name, processes in scenario.parts.items():
        used = (cpu(processes()) - parts_before[name]) / outcome.count * 1e6
        row.parts_us.setdefault(name, []).append(used)
    row.per_second.append(outcome.count / seconds)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def report(rows: Mapping[str, Row]) -> str:
    """The table, and the ratios the goals are set in."""
    lines = [f"{'':30}{'CPU us':>9}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}"]
    for name, row in rows.items():
        p50, p99 = (row.paced.percentile(s) if row.paced and row.paced.count else float("nan") for s in (0.5, 0.99))
        lines.append(
            f"{name:30}{_median(row.cpu_us):9.0f}{_median(row.per_second):9.0f}{p50:9.2f}{p99:9.2f}{row.failed:8d}"
        )
        lines += [f"  of it {part:23}{_median(used):9.0f}" for part, used in row.parts_us.items()]
    cached, bare = _median(rows["cached message"].cpu_us), _median(rows["bare FastAPI + Redis GET"].cpu_us)
    lines.append(f"\ncached message, whole path / bare FastAPI + Redis GET: {cached / bare:.2f} x")
    gateway = _median(rows["cached message"].parts_us["gateway"])
    for name in ("nginx, plain proxy", "nginx + auth_request(PyJWT)"):
        if name in rows:
            lines.append(f"gateway hop / {name}: {gateway / _median(rows[name].cpu_us):.2f} x")
    return "\n".join(lines)


def delivered(stack: Stack, users: Sequence[Mapping[str, str]], seconds: float) -> str:
    """From the end of a task to its notification on an open stream: two tasks a second, eight users listening."""
    found = delivery(stack.url, [user["token"] for user in users[:8]], seconds, rate=2)
    marks = ", ".join(f"p{share * 100:.0f} {found.percentile(share):.0f} ms" for share in (0.5, 0.99))
    return f"notification delivery, {found.count} tasks: {marks}, {found.failed} never came"


def resident(stack: Stack) -> str:
    """Proportional memory of the whole stack, in MiB."""
    roots = [psutil.Process(process.pid) for process in stack.processes() if process.pid]
    everyone = {member for root in roots for member in [root, *root.children(recursive=True)]}
    total = 0
    for member in everyone:
        with contextlib.suppress(psutil.Error):
            total += member.memory_full_info().pss
    return f"whole stack, proportional memory: {total / 2**20:.0f} MiB"


def main() -> None:
    """Start a stack of its own, measure, print, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="multidb-bench-") as name, running_stack(Path(name) / "home") as stack:
        print(resident(stack))
        users = newcomers(stack.url, USERS)
        (Path(name) / "nginx").mkdir()
        with yardsticks(stack, users[0], Path(name) / "nginx") as others:
            rows = measure([*scenarios(stack, users), *others], options.rounds, options.seconds)
        told = delivered(stack, users, options.seconds * 8)
        rows |= measure([submission(stack, users)], options.rounds, options.seconds)
        print(f"{report(rows)}\n{told}")
        print(resident(stack) + " after the run")


if __name__ == "__main__":
    main()
