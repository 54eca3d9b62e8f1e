"""What a task finds out: findings with their number and the query behind it, as data and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Value = int | float | str | None
SHOWN = 20
"""Rows of a table that are printed in the Markdown; the data has all that were kept."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows behind a finding."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: a number (or name), what it means, and the query that gave it."""

    title: str
    value: Value
    query: str
    detail: str = ""
    table: Table | None = None

    def as_json(self) -> dict[str, Any]:
        """The finding as data."""
        found: dict[str, Any] = {"title": self.title, "value": self.value, "detail": self.detail, "query": self.query}
        if self.table is not None:
            found["columns"] = list(self.table.columns)
            found["rows"] = [list(row) for row in self.table.rows]
        return found


@dataclass(frozen=True, slots=True)
class Section:
    """Findings under one heading."""

    heading: str
    findings: tuple[Finding, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a task. `extra` are further members of the result (period, sources, gaps ...), any JSON."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings in order."""
        return tuple(finding for section in self.sections for finding in section.findings)

    def as_markdown(self) -> str:
        """The report for people."""
        lines = [f"# {escape(self.title)}", "", escape(self.summary)]
        for section in self.sections:
            lines += ["", f"## {section.heading}"]
            if section.text:
                lines += ["", section.text]
            for finding in section.findings:
                lines += ["", *_finding(finding)]
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """The `result` of a task."""
        return {
            "summary": self.summary,
            "report_markdown": self.as_markdown(),
            "findings": [finding.as_json() for finding in self.findings],
            **self.extra,
        }


def _finding(finding: Finding) -> list[str]:
    lines = [f"### {escape(finding.title)}: {escape(shown(finding.value))}"]
    if finding.detail:
        lines += ["", escape(finding.detail)]
    if finding.table is not None and finding.table.rows:
        lines += ["", *_table(finding.table)]
    return [*lines, "", "```sql", finding.query.replace("```", "'''"), "```"]


def _table(table: Table) -> list[str]:
    lines = [
        "| " + " | ".join(cell(column) for column in table.columns) + " |",
        "|" + "---|" * len(table.columns),
        *("| " + " | ".join(cell(value) for value in row) + " |" for row in table.rows[:SHOWN]),
    ]
    left_out = len(table.rows) - SHOWN
    return [*lines, "", f"{left_out} more rows are in the data."] if left_out > 0 else lines


def shown(value: Value) -> str:
    """A value for people: thousands separated, at most three decimals."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def cell(value: Value) -> str:
    """A value inside a table: one line, no column separator."""
    return escape(shown(value)).replace("|", "\\|")


def escape(text: str) -> str:
    """Text of others as it may stand in Markdown: no HTML, no line breaks, no links or images that were not ours."""
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")


def share(part: float, whole: float) -> float:
    """A share in percent with one decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


def change(now: float, before: float) -> str:
    """How an amount moved against the period before, in words; no percentage of nothing, and none across zero."""
    if not before:
        return "there was nothing to compare with" if now else "nothing then and before"
    if now == before:
        return "unchanged"
    word = "up" if now > before else "down"
    if before < 0 or now < 0:
        return f"{word} by {shown(abs(now - before))} from {shown(before)}"
    return f"{word} {abs(100 * (now - before) / before):.1f} % from {shown(before)}"
