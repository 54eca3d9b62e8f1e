"""The bill of materials is what is locked, and what is locked is what is installed."""

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)(?: ; (.*?))?(?: \\)?$", re.MULTILINE)
OUTSIDE = {"pip", "setuptools", "wheel"}
"""What an environment may bring along by itself."""


def bill() -> dict[str, Any]:
    return dict(json.loads((ROOT / "sbom.cdx.json").read_text()))


def listed() -> set[tuple[str, str]]:
    return {(component["name"], component["version"]) for component in bill()["components"]}


def locked() -> dict[tuple[str, str], str | None]:
    """Every pin of the lock with its condition."""
    lock = (ROOT / "requirements.lock").read_text()
    return {(name, version): condition for name, version, condition in PINNED.findall(lock)}


def is_ours(name: str) -> bool:
    return name == "multidb" or name.startswith("multidb-")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_lists_what_is_locked_and_nothing_else() -> None:
    assert {entry for entry in listed() if not is_ours(entry[0])} == set(locked())


def test_everything_installed_is_on_the_bill_and_what_is_not_installed_has_a_condition() -> None:
    installed = {(normal(one.name), one.version) for one in distributions()}
    installed = {entry for entry in installed if entry[0] not in OUTSIDE}

    assert installed - listed() == set()
    missing = listed() - installed - {("multidb", "0.1.0")}
    assert {entry: bool(locked().get(entry)) for entry in missing} == dict.fromkeys(missing, True)


def test_the_bill_says_who_depends_on_whom() -> None:
    known = {component["bom-ref"] for component in bill()["components"]}
    edges = {entry["ref"]: entry["dependsOn"] for entry in bill()["dependencies"]}

    assert "pkg:pypi/fastapi@" in " ".join(edges["multidb-shared@0.1.0"])
    assert {name for names in edges.values() for name in names} <= known


def test_the_bill_names_no_address() -> None:
    assert "://" not in (ROOT / "sbom.cdx.json").read_text()


def test_two_exports_of_one_lock_make_the_same_bill() -> None:
    def export(number: int) -> str:
        component = {"type": "library", "bom-ref": f"a-{number}@1", "name": "a", "version": "1", "purl": "pkg:pypi/a@1"}
        exported = {
            "specVersion": "1.5",
            "serialNumber": f"urn:uuid:{number}",
            "metadata": {"timestamp": str(number)},
            "components": [{**component, "externalReferences": [{"url": "https://index.example/a"}]}],
            "dependencies": [{"ref": f"a-{number}@1"}, {"ref": "synthetic-root", "dependsOn": [f"a-{number}@1"]}],
        }
        command = [sys.executable, str(ROOT / "deploy" / "sbom.py")]
        done = subprocess.run(command, input=json.dumps(exported), capture_output=True, text=True, check=True)
        return done.stdout

    assert export(1) == export(2)
    assert json.loads(export(1))["dependencies"] == [{"ref": "pkg:pypi/a@1", "dependsOn": []}]
