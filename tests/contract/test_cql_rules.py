"""What the CQL of every service may say: the same schema and statements for ScyllaDB and Apache Cassandra 5."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("chat-service", "knowledge-service")
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|BEGIN|TRUNCATE)\s", re.IGNORECASE)
TENANT = "organization_id"

FORBIDDEN_IN_SCHEMA = {
    "secondary index": r"\bINDEX\b",
    "materialized view": r"\bMATERIALIZED\b",
    "user-defined type": r"\bTYPE\b",
    "counter": r"\bCOUNTER\b",
    "TRUNCATE": r"\bTRUNCATE\b",
    "DROP": r"\bDROP\b",
    "table option": r"\bWITH\b(?!\s+CLUSTERING\s+ORDER\s+BY)|\)\s*AND\s+\w+\s*=",
    "creation that cannot be repeated": r"\bCREATE\s+TABLE\b(?!\s+IF\s+NOT\s+EXISTS)",
}
FORBIDDEN_IN_STATEMENTS = {
    "ALLOW FILTERING": r"\bALLOW\s+FILTERING\b",
    "IN": r"\bIN\s*[(?]",
    "NULL": r"\bNULL\b",
    "every column": r"\bSELECT\s+\*",
    "TRUNCATE": r"\bTRUNCATE\b",
    "LWT": r"\bIF\s",
}
TABLE = re.compile(r"CREATE\s+TABLE\s+IF\s+NOT\s+EXISTS\s+(\w+)\s*\((.*?)\)\s*(?:WITH[^;]*)?;", re.DOTALL)
BUMP = re.compile(r"\s*INSERT\s+INTO\s+publications\s.*IF\s+NOT\s+EXISTS\s*$", re.IGNORECASE | re.DOTALL)
"""The one LWT there may be: an epoch is taken by inserting its row."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of CQL and where it stands."""

    where: str
    cql: str


def schema_faults(cql: str) -> list[str]:
    """What a migration says that it must not."""
    bare = re.sub(r"--[^\n]*", "", cql)
    faults = [name for name, pattern in FORBIDDEN_IN_SCHEMA.items() if re.search(pattern, bare, re.IGNORECASE)]
    for table, body in re.findall(
        r"CREATE\s+TABLE\s+IF\s+NOT\s+EXISTS\s+(\w+)\s*\((.*?)\)\s*(?:WITH[^;]*)?;", bare, re.DOTALL
    ):
        if not re.search(rf"PRIMARY\s+KEY\s*\(\s*\(\s*{TENANT}\b", body):
            faults.append(f"the partition key of {table} does not begin with the tenant")
    if bare.upper().count("CREATE TABLE") != len(re.findall(r"PRIMARY\s+KEY\s*\(\s*\(", bare)):
        faults.append("a table without an explicit partition key")
    return faults


def statement_faults(cql: str) -> list[str]:
    """What a statement says that it must not."""
    checked = re.sub(r"IF\s+NOT\s+EXISTS\s*$", "", cql, flags=re.IGNORECASE) if BUMP.fullmatch(cql) else cql
    faults = [name for name, pattern in FORBIDDEN_IN_STATEMENTS.items() if re.search(pattern, checked, re.IGNORECASE)]
    inserts = cql.lstrip().upper().startswith("INSERT")
    names_tenant = re.search(rf"\(\s*{TENANT}\b" if inserts else rf"\bWHERE\s+{TENANT}\s*=\s*\?", cql, re.IGNORECASE)
    return faults if names_tenant else [*faults, "a statement without the tenant"]


def migrations() -> Iterator[Text]:
    for service in SERVICES:
        for path in sorted((ROOT / service).glob("src/*/migrations/*.cql")):
            yield Text(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))


def statements() -> Iterator[Text]:
    """The named query constants of every store."""
    for service in SERVICES:
        for path in sorted((ROOT / service).glob("src/*/store/*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                    continue
                value = node.value.value if isinstance(node.value, ast.Constant) else None
                if isinstance(value, str) and STATEMENT.match(value):
                    yield Text(f"{path.relative_to(ROOT)}:{node.targets[0].id}", value)


MIGRATIONS = list(migrations())
STATEMENTS = list(statements())


def test_there_is_something_to_check() -> None:
    assert len(MIGRATIONS) >= 2
    assert len(STATEMENTS) >= 20


@pytest.mark.parametrize("migration", MIGRATIONS, ids=lambda text: text.where)
def test_a_migration_keeps_the_rules(migration: Text) -> None:
    assert schema_faults(migration.cql) == []


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda text: text.where)
def test_a_statement_keeps_the_rules(statement: Text) -> None:
    assert statement_faults(statement.cql) == []


GOOD = "CREATE TABLE IF NOT EXISTS notes (organization_id text, id uuid, PRIMARY KEY ((organization_id), id));"


@pytest.mark.parametrize(
    ("cql", "fault"),
    [
        ("CREATE INDEX ON notes (id);", "secondary index"),
        ("CREATE MATERIALIZED VIEW v AS SELECT id FROM notes;", "materialized view"),
        ("CREATE TYPE address (street text);", "user-defined type"),
        (GOOD.replace("id uuid", "seen counter"), "counter"),
        ("TRUNCATE notes;", "TRUNCATE"),
        ("DROP TABLE notes;", "DROP"),
        (GOOD.replace(";", " WITH gc_grace_seconds = 0;"), "table option"),
        (GOOD.replace(";", " WITH CLUSTERING ORDER BY (id DESC) AND gc_grace_seconds = 0;"), "table option"),
        (GOOD.replace(" IF NOT EXISTS", ""), "creation that cannot be repeated"),
        (GOOD.replace("((organization_id), id)", "((id), organization_id)"), "begin with the tenant"),
        (GOOD.replace("((organization_id), id)", "(id)"), "explicit partition key"),
    ],
)
def test_a_forbidden_schema_is_caught(cql: str, fault: str) -> None:
    assert schema_faults(GOOD) == []
    assert any(fault in found for found in schema_faults(cql))


@pytest.mark.parametrize(
    ("cql", "fault"),
    [
        ("SELECT id FROM notes WHERE organization_id = ? AND text = ? ALLOW FILTERING", "ALLOW FILTERING"),
        ("SELECT id FROM notes WHERE organization_id IN (?, ?)", "IN"),
        ("SELECT id FROM notes WHERE organization_id IN ?", "IN"),
        ("SELECT * FROM notes WHERE organization_id = ?", "every column"),
        ("SELECT id FROM notes", "without the tenant"),
        ("INSERT INTO notes (organization_id, id) VALUES (?, NULL)", "NULL"),
        ("INSERT INTO notes (id) VALUES (?)", "without the tenant"),
        ("INSERT INTO notes (organization_id, id) VALUES (?, ?) IF NOT EXISTS", "LWT"),
        ("UPDATE notes SET text = ? WHERE organization_id = ? AND id = ? IF text = ?", "LWT"),
        ("DELETE FROM notes WHERE organization_id = ? AND id = ? IF EXISTS", "LWT"),
    ],
)
def test_a_forbidden_statement_is_caught(cql: str, fault: str) -> None:
    assert any(fault in found for found in statement_faults(cql))
