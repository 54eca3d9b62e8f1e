#!/usr/bin/env python3
"""Make the software bill of materials (CycloneDX) of what uv exports: `uv export --format cyclonedx1.5 | sbom.py`.

What makes two runs of the same lock differ is left out (serial number, time, numbers in references), and so are
the addresses that the packages came from: any index will do, requirements.lock has the checksums.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
MARKER = "uv:package:marker"


def bill(exported: Mapping[str, Any]) -> Json:
    """The bill of an export, every component under a reference of its own name and version."""
    components = [component for component in exported["components"] if "version" in component]
    references = {component["bom-ref"]: _reference(component) for component in components}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": exported["specVersion"],
        "version": 1,
        "components": sorted(map(_component, components), key=lambda component: component["bom-ref"]),
        "dependencies": sorted(
            (
                {
                    "ref": references[entry["ref"]],
                    "dependsOn": sorted(references[one] for one in entry.get("dependsOn", ()) if one in references),
                }
                for entry in exported["dependencies"]
                if entry["ref"] in references
            ),
            key=lambda entry: str(entry["ref"]),
        ),
    }


def _reference(component: Json) -> str:
    return str(component.get("purl") or f"{component['name']}@{component['version']}")


def _component(component: Json) -> Json:
    kept = {name: component[name] for name in ("type", "name", "version", "purl") if name in component}
    markers = [entry for entry in component.get("properties", ()) if entry["name"] == MARKER]
    return {"bom-ref": _reference(component), **kept, **({"properties": markers} if markers else {})}


def main() -> None:
    """From standard input to standard output."""
    json.dump(bill(json.load(sys.stdin)), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
