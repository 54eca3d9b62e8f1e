"""Reads from the sources what they log and count: every event of every logger, every metric of every registry."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEVELS = ("debug", "info", "warning", "error", "critical")
METRICS = ("Counter", "Gauge", "Histogram", "Summary")
ADDED = {"Counter": "_total", "Gauge": "", "Histogram": "", "Summary": ""}
"""What prometheus_client adds to a name."""
LOGGERS = ("log", "structlog.get_logger()")


@dataclass(frozen=True, slots=True, order=True)
class Logged:
    """One call that logs: `fields` are the facts beside the event, in the order of the call."""

    event: str
    level: str
    package: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    """One metric as Prometheus shows it."""

    name: str
    kind: str
    package: str
    meaning: str
    labels: tuple[str, ...]


def packages() -> Iterator[tuple[str, Path]]:
    """Every package of the workspace that is not for tests, with its folder."""
    for folder in sorted([*ROOT.glob("*/src/*"), *ROOT.glob("deploy/*/src/*")]):
        if (folder / "__init__.py").exists():
            yield folder.name, folder


def calls() -> Iterator[tuple[str, ast.Call, ast.Module]]:
    """Every call in the sources, with its package and module."""
    for package, folder in packages():
        for path in sorted(folder.rglob("*.py")):
            if path.name == "testing.py":
                continue
            module = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(module):
                if isinstance(node, ast.Call):
                    yield package, node, module


def logged() -> list[Logged]:
    """Every event that is logged; raises ValueError for one whose name is not plain text."""
    found = set()
    for package, call, _ in calls():
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr not in LEVELS:
            continue
        if ast.unparse(function.value) not in LOGGERS:
            continue
        fields = tuple(word.arg or "…" for word in call.keywords if word.arg != "exc_info")
        found.update(Logged(event, function.attr, package, fields) for event in _texts(call.args[0], package))
    return sorted(found)


def _texts(argument: ast.expr, package: str) -> list[str]:
    """The texts that an event may be: one, or one of two."""
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if isinstance(argument, ast.IfExp):
        return [*_texts(argument.body, package), *_texts(argument.orelse, package)]
    if isinstance(argument, ast.Attribute | ast.Name):
        return []  # a foreign library's own message, passed on
    raise ValueError(f"{package}: an event is a name, not {ast.unparse(argument)}")


def metrics() -> list[Metric]:
    """Every metric that is made with prometheus_client."""
    found = set()
    for package, call, module in calls():
        if not isinstance(call.func, ast.Name) or call.func.id not in _imported(module):
            continue
        name, meaning, *more = call.args
        labels = [word.value for word in call.keywords if word.arg == "labelnames"] or more[:1]
        kind = call.func.id
        found.add(
            Metric(
                _text(name) + ADDED[kind],
                kind.lower(),
                package,
                _text(meaning),
                tuple(ast.literal_eval(labels[0])) if labels else (),
            )
        )
    return sorted(found)


def _imported(module: ast.Module) -> set[str]:
    return {
        alias.name
        for node in module.body
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
        if alias.name in METRICS
    }


def _text(argument: ast.expr) -> str:
    return str(ast.literal_eval(argument))


def as_markdown() -> Iterator[str]:
    """docs/operations/events-and-metrics.md, line by line."""
    yield "# Events and metrics"
    yield ""
    yield "Made by `make docs` from the sources; do not edit by hand."
    yield ""
    yield "## Metrics"
    yield ""
    yield "Every service offers its own at `PREFIX_METRICS_PORT`, for Prometheus."
    yield ""
    yield "| metric | kind | of | labels | meaning |"
    yield "|---|---|---|---|---|"
    for metric in metrics():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {metric.package} | {labels} | {metric.meaning} |"
    yield ""
    yield "## Log events"
    yield ""
    yield "One JSON object a line; those of a request carry `request_id` and `service` too. `warning` means that the"
    yield "service coped, `error` that somebody should look."
    yield ""
    yield "| event | level | of | fields |"
    yield "|---|---|---|---|"
    for each in logged():
        fields = ", ".join(f"`{field}`" for field in each.fields)
        yield f"| `{each.event}` | {each.level} | {each.package} | {fields} |"
