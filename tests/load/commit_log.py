"""What it costs a write that Cassandra's log is on the disk before the write is acknowledged.

Starts one node after another, each with another way to sync its log, and writes rows of a message's size at an even
rate (an open load), so that waiting shows. CPU is the node's own, per write, less what it uses when nobody writes.
    .venv/bin/python tests/load/commit_log.py [--rate 300] [--seconds 10] [MODE ...]
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import RoundRobinPolicy

from local_stack.engines.cassandra import Cassandra, CassandraPorts
from local_stack.engines.jars import fetch_jars
from local_stack.ports import assign_ports
from local_stack.process import spawn

KEYSPACE = "CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
TABLE = "CREATE TABLE bench.messages (session int, id timeuuid, text text, PRIMARY KEY (session, id))"
INSERT = "INSERT INTO bench.messages (session, id, text) VALUES (?, now(), ?)"
SESSIONS = 40
TEXT = "x" * 600
IDLE = 5
LIMIT = 60
"""Seconds that nobody writes, and seconds that a node may take to start."""
MODES: Mapping[str, str] = {
    "periodic": "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms",
    **{
        f"group {window} ms": f"commitlog_sync: group\ncommitlog_sync_group_window: {window}ms"
        for window in (1, 2, 5, 10)
    },
    "batch": "commitlog_sync: batch",
}


def start(folder: Path, commit_log: str) -> tuple[Cassandra, Any]:
    """A node of its own, once it answers."""
    names = ("native", "storage", "ssl_storage", "jmx")
    ports = assign_ports(names, {})
    made = CassandraPorts(ports["native"], ports["storage"], ports["ssl_storage"], (ports["jmx"],))
    node = Cassandra(folder, folder / "log", made, commit_log=commit_log)
    node.prepare()
    child = spawn(node.launch())
    end = time.monotonic() + LIMIT
    while not node.answers():
        if time.monotonic() > end or child.exit_code is not None:
            raise TimeoutError((folder / "log").read_text()[-2000:])
        time.sleep(0.1)
    return node, child


def cpu(pid: int) -> float:
    """Seconds of CPU used so far."""
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


def write(session: Session, statement: Any, rate: float, seconds: float) -> list[float]:
    """The times of writes begun at an even rate, in milliseconds."""
    took: list[float] = []
    left = threading.Semaphore(0)
    count = int(rate * seconds)
    began = time.perf_counter()
    for number in range(count):
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))

        def answered(_: object, due: float = due) -> None:
            took.append(1000 * (time.perf_counter() - due))
            left.release()

        session.execute_async(statement, (number % SESSIONS, TEXT)).add_callbacks(answered, answered)
    for _ in range(count):
        left.acquire()
    return took


def measure(name: str, commit_log: str, rate: float, seconds: float) -> None:
    """One line of the report."""
    with tempfile.TemporaryDirectory() as folder:
        node, child = start(Path(folder), commit_log)
        try:
            profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy())
            cluster = Cluster(
                [node.host],
                node.ports.native,
                connection_class=LibevConnection,
                protocol_version=4,
                execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            )
            session = cluster.connect()
            session.execute(KEYSPACE)
            session.execute(TABLE)
            statement = session.prepare(INSERT)
            write(session, statement, rate, seconds)  # warms the JVM up
            time.sleep(1)
            before = cpu(child.pid)
            time.sleep(IDLE)
            idle = (cpu(child.pid) - before) / IDLE
            before = cpu(child.pid)
            took = write(session, statement, rate, seconds)
            busy = cpu(child.pid) - before - idle * seconds
            cluster.shutdown()
        finally:
            child.stop()
    cut = statistics.quantiles(took, n=100)
    print(
        f"{name:<12} p50 {cut[49]:6.1f} ms   p99 {cut[98]:6.1f} ms   "
        f"{1e6 * busy / len(took):6.0f} us CPU a write   {100 * idle:5.1f} % of a CPU when idle",
        flush=True,
    )


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=300, help="writes per second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("modes", nargs="*", help=f"which ways, of: {', '.join(MODES)}; all when none is named")
    chosen = parser.parse_args()
    fetch_jars()
    for name in chosen.modes or MODES:
        measure(name, MODES[name], chosen.rate, chosen.seconds)


if __name__ == "__main__":
    main()
