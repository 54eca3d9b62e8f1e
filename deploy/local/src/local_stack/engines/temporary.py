"""Databases, keyspaces and Redis databases that exist for one test module, on engines that others use too."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from local_stack.engines.probes import run_cql
from local_stack.engines.running import CqlAddress, PostgreSQLAddress

CLAIM = "multidb:tests:claimed:{number}"
CLAIM_SECONDS = 3600
REDIS_DATABASES = range(1, 64)  # 0 keeps the claims


class NoRedisDatabaseLeft(RuntimeError):
    """Every numbered database of this Redis is claimed by another test run."""


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """An empty database, its owner, and names for an app role that nobody else uses."""

    host: str
    port: int
    user: str
    password: str
    name: str
    app_user: str
    app_password: str

    @property
    def url(self) -> str:
        """As its owner."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"


@dataclass(frozen=True, slots=True)
class CqlKeyspace:
    """An empty keyspace."""

    hosts: tuple[str, ...]
    port: int
    name: str
    datacenter: str = "datacenter1"

    @property
    def host(self) -> str:
        """The contact points as SCYLLA_HOST wants them."""
        return ",".join(self.hosts)


@contextmanager
def temporary_database(address: PostgreSQLAddress) -> Iterator[PostgresDatabase]:
    """A new database, dropped at the end together with its app role."""
    name = f"test_{secrets.token_hex(6)}"
    database = PostgresDatabase(
        address.host, address.port, address.user, address.password, name, f"{name}_app", secrets.token_hex(8)
    )
    _run_sql(address, f'CREATE DATABASE "{name}"')
    try:
        yield database
    finally:
        _run_sql(
            address, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'DROP ROLE IF EXISTS "{database.app_user}"'
        )


@contextmanager
def temporary_keyspace(address: CqlAddress) -> Iterator[CqlKeyspace]:
    """A new keyspace, dropped at the end."""
    keyspace = CqlKeyspace(address.hosts, address.port, f"test_{secrets.token_hex(6)}")
    run_cql(
        address.hosts[0],
        address.port,
        f"CREATE KEYSPACE {keyspace.name} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{keyspace.datacenter}': {len(address.hosts)}}}",
    )
    try:
        yield keyspace
    finally:
        with suppress(OSError):  # a slow drop is not the fault of the test
            run_cql(address.hosts[0], address.port, f"DROP KEYSPACE IF EXISTS {keyspace.name}")


@contextmanager
def claimed_redis_database(url: str) -> Iterator[str]:
    """The URL of a numbered database that is empty and nobody else's until the end."""
    import redis

    parts = urlsplit(url)
    with redis.Redis.from_url(url, db=0) as claims:
        number = next(
            (n for n in REDIS_DATABASES if claims.set(CLAIM.format(number=n), 1, nx=True, ex=CLAIM_SECONDS)), None
        )
        if number is None:
            raise NoRedisDatabaseLeft(NoRedisDatabaseLeft.__doc__)
        mine = parts._replace(path=f"/{number}").geturl()
        try:
            _empty(mine)
            yield mine
        finally:
            _empty(mine)
            claims.delete(CLAIM.format(number=number))


def _empty(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as database:
        database.flushdb()


def _run_sql(address: PostgreSQLAddress, *statements: str) -> None:
    import psycopg

    with psycopg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        dbname="postgres",
        autocommit=True,
        connect_timeout=5,
    ) as link:
        for statement in statements:
            link.execute(statement.encode())
