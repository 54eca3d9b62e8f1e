"""An image holds the drivers of its own service and no other, and the service needs nothing that is not in it."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVERS = {
    "gateway": {"hiredis", "redis"},
    "auth-service": {"asyncpg"},
    "chat-service": {"cassandra-driver", "hiredis", "httpx2", "redis"},
    "knowledge-service": {"cassandra-driver", "hiredis", "httpx2", "redis"},
    "notification-service": {"hiredis", "httpx2", "redis"},
    "task-worker": {"asyncpg", "duckdb", "httpx2", "procrastinate", "psycopg", "psycopg-binary", "psycopg-pool"},
}
EVERY_DRIVER = set().union(*DRIVERS.values())
IMPORT_ALL = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not in the image")

package, absent = sys.argv[1], set(sys.argv[2:])
sys.meta_path.insert(0, Absent())
found = importlib.import_module(package)
for module in pkgutil.walk_packages(found.__path__, package + "."):
    if module.name != package + ".testing":
        importlib.import_module(module.name)
assert package + ".app" in sys.modules
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def selected(service: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    with (ROOT / "requirements.lock").open(encoding="utf-8") as lock:
        return subprocess.run(
            [sys.executable, ROOT / "deploy" / "select_requirements.py", service],
            cwd=root,
            stdin=lock,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def libraries(service: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", selected(service).stdout, re.MULTILINE))


def absent_from(service: str) -> set[str]:
    """What can be imported here and not in the image; a module may come from several distributions."""
    present = {*libraries(service), f"multidb-{service}", "multidb-shared"}
    modules = packages_distributions().items()
    return {module for module, owners in modules if present.isdisjoint(normal(owner) for owner in owners)}


def imported(service: str, absent: set[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, service.replace("-", "_"), *absent],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("service", DRIVERS)
def test_an_image_holds_the_drivers_of_its_service_and_no_other(service: str) -> None:
    assert libraries(service) & EVERY_DRIVER == DRIVERS[service]


@pytest.mark.parametrize("service", DRIVERS)
def test_a_service_runs_with_what_is_in_its_image(service: str) -> None:
    done = imported(service, absent_from(service))

    assert done.returncode == 0, done.stderr


def test_a_driver_that_the_image_lacks_would_be_noticed() -> None:
    done = imported("auth-service", {*absent_from("auth-service"), "asyncpg"})

    assert "asyncpg is not in the image" in done.stderr


def test_a_package_that_is_not_locked_stops_the_build_of_the_image(tmp_path: Path) -> None:
    for member in ("shared", "gateway"):
        project = (ROOT / member / "pyproject.toml").read_text(encoding="utf-8")
        (tmp_path / member).mkdir()
        changed = project.replace('"structlog>=', '"unlocked>=1", "structlog>=')
        (tmp_path / member / "pyproject.toml").write_text(changed)

    done = selected("gateway", tmp_path)

    assert done.returncode != 0
    assert "requirements.lock lacks unlocked" in done.stderr


def test_the_build_of_an_image_has_every_file_that_the_selection_reads() -> None:
    copied = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")

    assert "COPY shared/pyproject.toml shared/\nCOPY ${SERVICE}/pyproject.toml ${SERVICE}/\n" in copied
    assert "!*/pyproject.toml" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
