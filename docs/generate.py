"""Writes what documents take from the code: settings, degradation, events, metrics. `--check` only looks."""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import observed
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.degradation import as_markdown
from shared.settings import DEPLOYMENT_WIDE, ServiceSettings

DOCS = Path(__file__).parent
PACKAGES = (
    "gateway",
    "auth_service",
    "chat_service",
    "knowledge_service",
    "notification_service",
    "task_worker",
)
INTRODUCTION = """# Configuration

Made by `make docs` from the settings classes; do not edit by hand.

Every service reads `PREFIX_NAME` first, then, where the last column says so, the deployment-wide `NAME`.
`make up` sets all of it; `.env.example` names what an operator is likely to change. A secret has no default.
"""


def settings_of(package: str) -> type[ServiceSettings]:
    """The settings class of a service."""
    module = importlib.import_module(f"{package}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value is not ServiceSettings
    ]
    return found[0]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return "of the machine"
    value = field.get_default()
    if value is None or value in {"", PydanticUndefined}:
        return ""
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, frozenset):  # printed as it is written, in an order that does not change
        return f"`{','.join(sorted(value))}`"
    return f"`{value}`"


def configuration() -> Iterator[str]:
    """The lines of docs/configuration.md."""
    yield INTRODUCTION
    for package in PACKAGES:
        settings = settings_of(package)
        prefix = settings.model_config.get("env_prefix", "")
        yield f"## {settings.service}\n"
        yield "| variable | default | meaning | deployment-wide name |"
        yield "|---|---|---|---|"
        for name, field in sorted(settings.model_fields.items()):
            wide = f"`{name.upper()}`" if name in DEPLOYMENT_WIDE else ""
            yield f"| `{prefix}{name.upper()}` | {_default(field)} | {field.description or ''} | {wide} |"
        yield ""


def architecture() -> str:
    """docs/architecture.md with the degradation table of the code between its markers."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    begin, end = "<!-- degradation:begin -->", "<!-- degradation:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n" + "\n".join(as_markdown()) + f"\n{end}{after}"


def main() -> None:
    """Write, or with --check leave 1 when something is not as the code says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    wanted = {
        "configuration.md": "\n".join(configuration()),
        "architecture.md": architecture(),
        "operations/events-and-metrics.md": "\n".join([*observed.as_markdown(), ""]),
    }
    stale = [
        name
        for name, text in wanted.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    if not check:
        for name in stale:
            (DOCS / name).write_text(wanted[name], encoding="utf-8")
    elif stale:
        sys.exit(f"out of date, run `make docs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
