"""Apache Cassandra 5 on a small heap: one node, or three on 127.0.0.1 to 127.0.0.3."""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from local_stack.engines.engine import EngineUnavailable
from local_stack.engines.jars import FIX, jar_folder, missing_jars
from local_stack.engines.java import find_java
from local_stack.engines.probes import cql_answers, cql_ring_agrees
from local_stack.process import Launch

TOKENS = {1: ("0",), 3: ("-9223372036854775808", "-3074457345618258603", "3074457345618258602")}
EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.management/com.sun.jmx.remote.security",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)
OPENS = (
    *(
        f"java.base/{package}"
        for package in (
            "java.lang.module",
            "jdk.internal.loader",
            "jdk.internal.ref",
            "jdk.internal.reflect",
            "jdk.internal.math",
            "jdk.internal.module",
            "jdk.internal.util.jar",
            "jdk.internal.misc",
            "sun.nio.ch",
            "java.io",
            "java.nio",
            "java.lang.reflect",
            "java.lang",
            "java.util",
        )
    ),
    "jdk.management/com.sun.management.internal",
)
SYNCED = "commitlog_sync: batch"
"""A write is acknowledged when the log is on the disk; those that wait at the same time are synced together.

Not periodic, the default: what it acknowledged since the last marker in the log, up to a tenth of a second, is gone
after a kill -9. Not group with a window: every write waits for its end, an idle node wakes up for each, and writers
that wait are not free for others. tests/load/commit_log.py measures them; docs/performance.md has the figures.
"""
CONFIGURATION = """\
cluster_name: MultiDB
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
num_tokens: 1
initial_token: '{token}'
auto_bootstrap: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:{storage_port}"
storage_port: {storage_port}
ssl_storage_port: {ssl_storage_port}
native_transport_port: {native_port}
listen_address: {host}
rpc_address: {host}
data_file_directories: ["{folder}/data"]
commitlog_directory: "{folder}/commitlog"
hints_directory: "{folder}/hints"
saved_caches_directory: "{folder}/saved_caches"
cdc_raw_directory: "{folder}/cdc_raw"
{commit_log}
commitlog_segment_size: 8MiB
commitlog_total_space: 128MiB
auto_snapshot: false
incremental_backups: false
memtable_allocation_type: heap_buffers
memtable_heap_space: 64MiB
disk_access_mode: standard
key_cache_size: 8MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
concurrent_reads: 8
concurrent_writes: 32
concurrent_compactors: 1
crypto_provider:
  - class_name: org.apache.cassandra.security.JREProvider
"""
LOGGING = """\
<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="STDOUT"/></root>
  <logger name="org.apache.cassandra.service.CassandraDaemon" level="INFO"/>
</configuration>
"""


@dataclass(frozen=True, slots=True)
class CassandraPorts:
    """The ports of a cluster, the same on each node's address; JMX listens on loopback, so each node has its own."""

    native: int
    storage: int
    ssl_storage: int
    jmx: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cassandra:
    """One node of a ring of `nodes`, with its files in `folder`."""

    folder: Path
    log: Path
    ports: CassandraPorts
    replica: int = 1
    nodes: int = 1
    heap: int = 160  # MB
    name: str = "cassandra"
    commit_log: str = SYNCED

    @property
    def host(self) -> str:
        """The loopback address of this node."""
        return f"127.0.0.{self.replica}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"cql://{self.host}:{self.ports.native}"

    def prepare(self) -> None:
        """Write the configuration. Raises EngineUnavailable without Java or without the jars."""
        find_java()
        missing = missing_jars(jar_folder())
        if missing:
            raise EngineUnavailable(f"{len(missing)} jars of Apache Cassandra are missing", FIX)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "logback.xml").write_text(LOGGING)
        (self.folder / "cassandra.yaml").write_text(
            CONFIGURATION.format(
                token=TOKENS[self.nodes][self.replica - 1],
                host=self.host,
                folder=self.folder,
                native_port=self.ports.native,
                storage_port=self.ports.storage,
                ssl_storage_port=self.ports.ssl_storage,
                commit_log=self.commit_log,
            )
        )

    def launch(self) -> Launch:
        """The command of the JVM."""
        jars = jar_folder()
        (agent,) = jars.glob("jamm-*.jar")
        return Launch(
            name=self.name,
            replica=self.replica,
            argv=(
                str(find_java()),
                f"-javaagent:{agent}",
                *self._memory(),
                *(word for package in EXPORTS for word in ("--add-exports", f"{package}=ALL-UNNAMED")),
                *(word for package in OPENS for word in ("--add-opens", f"{package}=ALL-UNNAMED")),
                *self._properties(),
                "-cp",
                f"{jars}/*",
                "org.apache.cassandra.service.CassandraDaemon",
            ),
            environment={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
            folder=self.folder,
            log=self.log,
            grace=timedelta(seconds=14),
        )

    def answers(self) -> bool:
        """Whether the node answers and, in a ring, sees the others with the same schema."""
        if not cql_answers(self.host, self.ports.native):
            return False
        return self.nodes == 1 or cql_ring_agrees(self.host, self.ports.native, self.nodes)

    def _memory(self) -> list[str]:
        return [
            f"-Xms{self.heap}m",
            f"-Xmx{self.heap}m",
            "-Xss256k",
            "-XX:MaxDirectMemorySize=128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
        ]

    def _properties(self) -> list[str]:
        properties = {
            "jdk.attach.allowAttachSelf": "true",
            "io.netty.tryReflectionSetAccessible": "true",
            "java.net.preferIPv4Stack": "true",
            "cassandra.config": f"file://{self.folder}/cassandra.yaml",
            "cassandra.storagedir": str(self.folder),
            "cassandra-foreground": "yes",
            "logback.configurationFile": f"{self.folder}/logback.xml",
            "cassandra.skip_wait_for_gossip_to_settle": "0",
            "cassandra.ring_delay_ms": "1000",
            "cassandra.superuser_setup_delay_ms": "0",
            "cassandra.jmx.local.port": str(self.ports.jmx[self.replica - 1]),
        }
        return [f"-D{name}={value}" for name, value in properties.items()]
