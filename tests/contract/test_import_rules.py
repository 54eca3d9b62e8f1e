"""Each import rule is broken on purpose once, to see that it would be caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {path.name: path for path in [*ROOT.glob("*/src/*"), *ROOT.glob("deploy/*/src/*")] if path.is_dir()}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name, path in PACKAGES.items():
        shutil.copytree(path, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl", "*.gz"))
    return tmp_path


def test_the_project_keeps_its_import_rules() -> None:
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("chat_service/domain", "import auth_service", "Services never import one another"),
        ("shared", "import gateway", "shared imports nobody"),
        ("cli", "import auth_service", "The CLI and the local stack talk"),
        ("cli", "import local_stack", "The client works without the local stack"),
        ("local_stack", "import cli", "The local stack does not know the command line"),
        ("auth_service/domain", "import auth_service.store", "I/O above domain above settings"),
        ("gateway/routes", "import gateway.clients.upstream", "I/O above domain above settings"),
        ("task_worker/store", "import task_worker.testing", "I/O above domain above settings"),
        ("notification_service", "# a module that is in no layer", "I/O above domain above settings"),
        ("task_worker/domain", "import fastapi", "Domains know no framework"),
        ("gateway/domain", "import shared.contracts.auth", "Domains know no framework"),
        ("notification_service/store", "import asyncpg", "Only auth-service and task-worker reach PostgreSQL"),
        (
            "chat_service/store",
            "import shared.migrations_postgres",
            "Only auth-service and task-worker reach PostgreSQL",
        ),
        ("gateway/store", "import shared.cql", "Only chat-service and knowledge-service reach CQL"),
        ("auth_service/store", "import shared.migrations_cql", "Only chat-service and knowledge-service reach CQL"),
    ],
)
def test_a_violation_is_caught(copied: Path, module: str, line: str, rule: str) -> None:
    (copied / module / "violation.py").write_text(line + "\n")

    result = lint(copied)

    assert result.returncode != 0
    broken = [text for text in result.stdout.splitlines() if " BROKEN" in text]
    assert len(broken) == 1
    assert broken[0].startswith(rule)
