"""The files and the command line of a Cassandra node."""

from pathlib import Path

import pytest

from local_stack.engines import cassandra
from local_stack.engines.cassandra import Cassandra, CassandraPorts
from local_stack.engines.engine import EngineUnavailable

PORTS = CassandraPorts(native=21_001, storage=21_002, ssl_storage=21_003, jmx=(21_004, 21_005, 21_006))


@pytest.fixture
def jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which every jar is there, by name."""
    monkeypatch.setenv("MULTIDB_CACHE", str(tmp_path / "cache"))
    folder = cassandra.jar_folder()
    folder.mkdir(parents=True)
    for jar in cassandra.missing_jars(folder):
        (folder / jar.filename).touch()
    return folder


def node(folder: Path, replica: int = 1, nodes: int = 1) -> Cassandra:
    return Cassandra(folder / "data", folder / "log", PORTS, replica, nodes)


def configuration(folder: Path) -> dict[str, str]:
    lines = (folder / "data" / "cassandra.yaml").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith((" ", "#")))


@pytest.mark.usefixtures("jars")
def test_an_acknowledged_write_is_in_a_synced_log(tmp_path: Path) -> None:
    node(tmp_path).prepare()

    assert configuration(tmp_path)["commitlog_sync"] == "batch"
    assert "commitlog_sync_period" not in configuration(tmp_path)


@pytest.mark.usefixtures("jars")
def test_everything_a_node_writes_is_in_its_folder_and_it_listens_on_loopback_alone(tmp_path: Path) -> None:
    one = node(tmp_path)
    one.prepare()

    written = configuration(tmp_path)
    for name in ("commitlog_directory", "hints_directory", "saved_caches_directory", "cdc_raw_directory"):
        assert written[name].strip('"').startswith(str(tmp_path / "data"))
    assert (written["listen_address"], written["rpc_address"]) == ("127.0.0.1", "127.0.0.1")
    assert written["native_transport_port"] == "21001"
    assert one.url == "cql://127.0.0.1:21001"


@pytest.mark.usefixtures("jars")
def test_nodes_of_a_ring_part_it_evenly_and_have_an_address_and_a_jmx_port_each(tmp_path: Path) -> None:
    tokens, hosts, ports = set(), set(), set()
    for replica in (1, 2, 3):
        one = node(tmp_path / str(replica), replica, nodes=3)
        one.prepare()
        tokens.add(configuration(tmp_path / str(replica))["initial_token"])
        hosts.add(one.host)
        ports.update(word for word in one.launch().argv if "jmx.local.port" in word)

    assert hosts == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
    assert (len(tokens), len(ports)) == (3, 3)


@pytest.mark.usefixtures("jars")
def test_the_heap_is_bounded_and_a_full_one_ends_the_process(tmp_path: Path) -> None:
    words = node(tmp_path).launch().argv

    assert {"-Xms160m", "-Xmx160m", "-XX:+ExitOnOutOfMemoryError"} <= set(words)
    assert words[-1] == "org.apache.cassandra.service.CassandraDaemon"


def test_missing_jars_are_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIDB_CACHE", str(tmp_path / "empty"))

    with pytest.raises(EngineUnavailable, match="jars of Apache Cassandra are missing"):
        node(tmp_path).prepare()

    assert not (tmp_path / "data").exists()


def test_a_port_nobody_listens_on_does_not_answer(tmp_path: Path) -> None:
    assert not node(tmp_path).answers()
