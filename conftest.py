"""Real engines for every test that asks for them: started once per run, or those named by MULTIDB_TEST_ENGINES."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from local_stack.engines.running import EngineAddresses, EngineSet
from local_stack.engines.temporary import (
    CqlKeyspace,
    PostgresDatabase,
    claimed_redis_database,
    temporary_database,
    temporary_keyspace,
)

# A deadline for each example measures the machine; tests that promise a time measure it themselves.
settings.register_profile("multidb", deadline=None)
settings.load_profile("multidb")


def pytest_configure(config: pytest.Config) -> None:
    """A folder of temporary files for this run alone.

    Runs of one user share theirs otherwise, and each start of pytest closes it to everybody else, which ends a
    PostgreSQL that another run has started under an account without privileges.
    """
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and config.option.basetemp is None:
        folder = tempfile.TemporaryDirectory(prefix="mdb-", ignore_cleanup_errors=True)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineAddresses]:
    """PostgreSQL, two Valkeys and Cassandra; shared by the whole run."""
    named = EngineAddresses.from_environment()
    if named:
        yield named
        return
    with EngineSet(tmp_path_factory.mktemp("engines")) as started:
        yield started


@pytest.fixture(scope="module")
def postgres_database(engines: EngineAddresses) -> Iterator[PostgresDatabase]:
    """An empty database for this module: .host .port .user .password .name .app_user .app_password .url."""
    assert engines.postgresql is not None
    with temporary_database(engines.postgresql) as database:
        yield database


@pytest.fixture(scope="module")
def cql_keyspace(engines: EngineAddresses) -> Iterator[CqlKeyspace]:
    """An empty keyspace for this module: .host (comma separated) .hosts .port .name .datacenter."""
    assert engines.cql is not None
    with temporary_keyspace(engines.cql) as keyspace:
        yield keyspace


@pytest.fixture(scope="module")
def redis_cache_url(engines: EngineAddresses) -> Iterator[str]:
    """The URL of an empty numbered database of the evicting server, this module's alone."""
    assert engines.redis_cache is not None
    with claimed_redis_database(engines.redis_cache) as url:
        yield url


@pytest.fixture(scope="module")
def redis_data_url(engines: EngineAddresses) -> Iterator[str]:
    """The URL of an empty numbered database of the durable server, this module's alone."""
    assert engines.redis_data is not None
    with claimed_redis_database(engines.redis_data) as url:
        yield url
