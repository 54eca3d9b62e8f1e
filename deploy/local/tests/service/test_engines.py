"""The engines the tests and the stack run on."""

import psycopg
import pytest
import redis

from local_stack.engines.probes import cql_answers, run_cql
from local_stack.engines.temporary import CqlKeyspace, PostgresDatabase

pytestmark = pytest.mark.engines


def test_postgresql_is_version_18_and_asks_for_a_password(postgres_database: PostgresDatabase) -> None:
    with psycopg.connect(postgres_database.url) as link:
        version = link.info.server_version

    assert version // 10_000 == 18
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_database.url.replace(postgres_database.password, "wrong"))


def test_the_cache_may_forget_and_the_data_may_not(redis_cache_url: str, redis_data_url: str) -> None:
    with redis.Redis.from_url(redis_cache_url) as cache, redis.Redis.from_url(redis_data_url) as data:
        assert cache.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lfu"
        assert cache.config_get("appendonly")["appendonly"] == "no"
        assert data.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert data.config_get("appendonly")["appendonly"] == "yes"


def test_cassandra_answers_and_takes_a_schema(cql_keyspace: CqlKeyspace) -> None:
    assert cql_answers(cql_keyspace.hosts[0], cql_keyspace.port)
    run_cql(cql_keyspace.hosts[0], cql_keyspace.port, f"CREATE TABLE {cql_keyspace.name}.t (id int PRIMARY KEY)")
