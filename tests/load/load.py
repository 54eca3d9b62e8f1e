"""`make load`: locust against a stack of its own, with the README's promises as pass or fail."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from bench import PASSWORD, newcomers
from generator import ask

from local_stack.testing import running_stack

HERE = Path(__file__).parent
PROMISES = {
    "cached message": 10,
    "knowledge query (message)": 100,
    "knowledge query (search)": 100,
    "authentication": 200,
    "submission": 500,
}
"""Milliseconds that 95 % of the requests stay below, at half of what the machine holds."""
HIT_RATE = 0.7


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and what was measured."""

    name: str
    measured: float
    promised: float
    holds: bool
    unit: str


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked for, in simulated users and seconds."""

    users: int
    warm_up: int
    seconds: int


def run(url: str, owners: list[dict[str, str]], load: Load, report: Path) -> tuple[list[dict[str, Any]], float]:
    """Locust's statistics, one entry per request name, and how busy the machine was (0-1), after the warm-up."""
    accounts = {"owners": owners, "password": PASSWORD, "warm_up": load.warm_up}
    environment = {**os.environ, "MULTIDB_LOAD": json.dumps(accounts)}
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless", "--host", url]
    command += ["--users", str(load.users), "--spawn-rate", "10", "--run-time", f"{load.warm_up + load.seconds}s"]
    command += ["--json", "--only-summary"]
    command += ["--html", str(report), "--skip-log-setup", "--exit-code-on-error", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as locust:
        time.sleep(load.warm_up)
        psutil.cpu_percent()
        time.sleep(load.seconds - 1)
        busy = psutil.cpu_percent() / 100
        statistics = json.loads(locust.communicate()[0])
    if locust.returncode != 0:
        raise RuntimeError(f"locust ended with {locust.returncode}")
    return list(statistics), busy


def percentile(response_times: Mapping[str, int], share: float) -> float:
    """Milliseconds that `share` of the requests stayed below, from locust's rounded histogram."""
    total, seen = sum(response_times.values()), 0
    for milliseconds, count in sorted((float(ms), n) for ms, n in response_times.items()):
        seen += count
        if seen >= share * total:
            return milliseconds
    return float("nan")


def checks(statistics: list[dict[str, Any]], hit_rate: float) -> Iterator[Check]:
    """Every promise against what was measured; an unanswered or failed request breaks one too."""
    by_name = {entry["name"]: entry for entry in statistics}
    for name, promised in PROMISES.items():
        entry = by_name.get(name, {"response_times": {}})
        measured = percentile(entry["response_times"], 0.95)
        yield Check(f"{name}, p95", measured, promised, measured < promised, "ms")
    failures = sum(entry["num_failures"] for entry in statistics)
    yield Check("failed requests", failures, 0, failures == 0, "")
    yield Check("cache hit rate", hit_rate * 100, HIT_RATE * 100, hit_rate > HIT_RATE, "%")


def table(statistics: list[dict[str, Any]]) -> Iterator[str]:
    """Count and percentiles of every request name."""
    yield f"{'':28}{'count':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
    for entry in sorted(statistics, key=lambda entry: -entry["num_requests"]):
        marks = "".join(f"{percentile(entry['response_times'], share):9.0f}" for share in (0.5, 0.95, 0.99))
        yield f"{entry['name']:28}{entry['num_requests']:8d}{marks}"


def cached_share(statistics: list[dict[str, Any]]) -> float:
    """Share of the messages that came from a cache."""
    counts = {entry["name"]: entry["num_requests"] for entry in statistics}
    cached = counts.get("cached message", 0)
    return cached / max(1, cached + counts.get("knowledge query (message)", 0))


def main() -> None:
    """Start a stack of its own, load it, print, and leave 1 when a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=80, help="five in six are visitors, who ask twice a second each")
    parser.add_argument("--warm-up", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--report", type=Path, default=Path("reports/load.html"))
    options = parser.parse_args()
    options.report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="multidb-load-") as name, running_stack(Path(name) / "home") as stack:
        owners = newcomers(stack.url, 4)
        load = Load(options.users, options.warm_up, options.seconds)
        statistics, busy = run(stack.url, owners, load, options.report)
        summary = ask(stack.url, "GET", "/analytics/summary", token=owners[0]["token"])
    print("\n".join(table(statistics)))
    found = list(checks(statistics, cached_share(statistics)))
    for check in found:
        print(f"{'ok  ' if check.holds else 'FAIL'} {check.name}: {check.measured:.1f} {check.unit} ({check.promised})")
    print(f"the machine was {busy:.0%} busy, the generator included")
    print(f"the product's own figure for the hit rate of one organization: {summary['cache']['hit_rate']:.2f}")
    print(f"report: {options.report}")
    sys.exit(0 if all(check.holds for check in found) else 1)


if __name__ == "__main__":
    main()
