"""The report on an uploaded table: what was looked at, how it was read, and the figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from task_worker.domain.report import Finding, Report, Section, escape, shown
from task_worker.jobs.tables.columns import recognise
from task_worker.jobs.tables.decoding import Decoded, decode
from task_worker.jobs.tables.figures import Figures, Order, figures
from task_worker.jobs.tables.records import Sheet, read_sheet
from task_worker.jobs.tables.remarks import Remark

SHOWN_REMARKS = 40
"""Assumptions that the Markdown lists; doubts are all listed, and the data has everything."""


def table_report(order: Order, raw: bytes, folder: Path, memory: int) -> Report:
    """The report on a file. Raises TableRefused when it is no table.

    `folder` is an empty directory for what is written on the way, `memory` the database's limit in MiB.
    """
    decoded = decode(raw)
    sheet = read_sheet(decoded.text)
    table = recognise(sheet)
    found = figures(order, table, folder, memory)
    remarks = (*decoded.remarks, *sheet.remarks, *table.remarks)
    sections = (
        Section("What was looked at", text=_looked_at(order, len(table.columns), found)),
        Section("How the file was read", text=_how_read(remarks)),
        Section("Schema and quality", found.quality),
        Section("Distributions", found.distributions),
        Section("Trend", found.trend),
        Section("Movers", found.movers),
    )
    kept = tuple(section for section in sections if section.findings or section.text)
    summary = _summary(order, len(table.columns), found, remarks)
    return Report(f"Analysis of {order.name}", summary, kept, _extra(order, found, decoded, sheet, remarks))


def _looked_at(order: Order, columns: int, found: Figures) -> str:
    period = order.period.describe() if order.period.phrase else "the whole file; the description names none"
    return "\n".join(
        (
            f'- Asked for: "{escape(order.description)[:300]}"',
            f"- File: `{order.name}`, {found.rows:,} rows and {columns} columns; below it is the table `data`",
            f"- Period: {period}",
            f"- Time: {found.note}",
            f"- Amounts: {_amounts(found)}",
        )
    )


def _amounts(found: Figures) -> str:
    measure = found.shape.measure
    if measure is None:
        return "rows, for want of a column of numbers"
    what = "the average" if measure.column.is_percent else "the sum"
    return f"{what} of `{escape(measure.name)}`"


def _how_read(remarks: Sequence[Remark]) -> str:
    doubts = [f"- **Please check:** {remark.text}" for remark in remarks if remark.is_doubt]
    assumed = [f"- {remark.text}" for remark in remarks if not remark.is_doubt]
    more = len(assumed) - SHOWN_REMARKS
    rest = [f"- {more:,} more assumptions are in the data."] if more > 0 else []
    return "\n".join((*doubts, *assumed[:SHOWN_REMARKS], *rest))


def _summary(order: Order, columns: int, found: Figures, remarks: Sequence[Remark]) -> str:
    said = [f"{order.name}: {found.rows:,} rows, {columns} columns.", *_told(found)]
    doubts = sum(remark.is_doubt for remark in remarks)
    if doubts:
        said.append(f"Please check {'one assumption' if doubts == 1 else f'{doubts} assumptions'} about the file.")
    return " ".join(said)


def _told(found: Figures) -> Iterator[str]:
    yield from (finding.detail for finding in found.trend if finding.title.startswith("Change of"))
    yield from (_moved(finding) for finding in found.movers[:1])


def _moved(finding: Finding) -> str:
    return f"{finding.title}: {shown(finding.value)}, {finding.detail}"


def _extra(order: Order, found: Figures, decoded: Decoded, sheet: Sheet, remarks: Sequence[Remark]) -> dict[str, Any]:
    is_stated = order.period.phrase is not None
    label = found.span.label if found.span else "the whole file"
    return {
        "period": {
            "label": order.period.label if is_stated else label,
            "since": order.period.since.isoformat() if is_stated else None,
            "until": order.period.until.isoformat() if is_stated else None,
            "stated_as": order.period.phrase,
        },
        "sources": [{"name": order.name, "rows": found.rows}],
        "assumed": {
            "encoding": decoded.encoding,
            "delimiter": sheet.delimiter,
            "notes": [remark.text for remark in remarks if not remark.is_doubt],
            "doubts": [remark.text for remark in remarks if remark.is_doubt],
        },
    }
