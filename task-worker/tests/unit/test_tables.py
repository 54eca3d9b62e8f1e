"""The analysis of a CSV: by the report itself, and through the bounded child process."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from task_worker.domain.period import parse_period
from task_worker.domain.report import Finding, Report
from task_worker.domain.task import Attempt
from task_worker.jobs.table_process import as_utf8
from task_worker.jobs.table_report import Order, table_report
from task_worker.jobs.tables import FileTooHard, TableAnalysis

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def sales() -> str:
    """Two quarters: North sells 10 a day in Q3 and 30 in Q4, South 20 in both."""
    lines = ["order_id,order_date,region,revenue"]
    day, number = date(2024, 7, 1), 0
    while day < date(2025, 1, 1):
        for region, amount in (("North", 30 if day.month > 9 else 10), ("South", 20)):
            number += 1
            lines.append(f"{number},{day},{region},{amount}")
        day += timedelta(days=1)
    return "\n".join(lines) + "\n"


def analysed(tmp_path: Path, text: str | bytes, description: str) -> Report:
    path = tmp_path / "data.csv"
    path.write_bytes(as_utf8(text if isinstance(text, bytes) else text.encode()))
    period = parse_period(description, NOW)
    return table_report(Order(description, "sales.csv", period, period.before()), path, 128)


def finding(report: Report, title: str) -> Finding:
    return next(found for found in report.findings if found.title == title)


def test_the_named_quarter_is_compared_with_the_one_before(tmp_path: Path) -> None:
    report = analysed(tmp_path, sales(), "Analyze revenue by region Q4 2024")

    assert finding(report, "Change of revenue in percent").value == pytest.approx(66.7)
    assert finding(report, "Top mover by region").value == "North"
    assert finding(report, "Best month by revenue").value in ("2024-10", "2024-12")
    assert finding(report, "Rows").value == 368
    assert report.extra["period"]["stated_as"] == "q4 2024"
    assert "up 66.7 % from 2,760 in 2024-07-01 to 2024-09-30" in report.summary


def test_every_finding_has_its_query(tmp_path: Path) -> None:
    report = analysed(tmp_path, sales(), "anything")

    assert all("SELECT" in found.query for found in report.findings)
    assert {"Schema and quality", "Distributions", "Trend", "Movers"} <= {s.heading for s in report.sections}
    assert "order_id" not in [found.title.rpartition(" ")[2] for found in report.findings]


def test_without_a_period_the_later_half_is_compared_with_the_earlier(tmp_path: Path) -> None:
    report = analysed(tmp_path, sales(), "who moved?")

    assert "before 2024-" in finding(report, "Top mover by region").detail
    assert "the description names none" in report.as_markdown()


def test_a_period_that_the_file_does_not_cover_is_said_so(tmp_path: Path) -> None:
    markdown = analysed(tmp_path, sales(), "revenue in March 2025").as_markdown()

    assert "it has no row in March 2025, so the whole file is shown" in markdown
    assert "2024-07-01 to 2024-12-31" in markdown


def test_decimal_commas_and_german_dates_are_read(tmp_path: Path) -> None:
    text = "datum;umsatz\n" + "".join(f"{day:02}.10.2024;{day},5\n" for day in range(1, 29))

    report = analysed(tmp_path, text, "umsatz im Q4 2024")

    assert finding(report, "Median of umsatz").value == 15
    assert finding(report, "Best day by umsatz").value == "2024-10-28"


def test_a_few_broken_cells_do_not_spoil_a_column(tmp_path: Path) -> None:
    lines = [f"2024-10-{day:02},{day}" for day in range(1, 29)]
    report = analysed(tmp_path, "day,amount\n" + "\n".join([*lines, "someday,7"]), "trend")

    assert finding(report, "Cells of day that do not fit").value == 1
    assert finding(report, "Best day by amount").value == "2024-10-28"


def test_names_of_columns_and_cells_cannot_break_out(tmp_path: Path) -> None:
    text = 'day,"a""; DROP TABLE data; --"\n2024-01-01,<script>x</script>\n2024-01-02,b|c\n2024-01-03,b|c\n'

    markdown = analysed(tmp_path, text, "trend").as_markdown()

    assert "<script>" not in markdown
    assert "b\\|c" in markdown


def test_a_file_cannot_reach_other_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nsecret\n")

    report = analysed(tmp_path, f"path\n{secret}\n{secret}\n", "read it")

    assert "\nsecret\n" not in report.as_markdown()


@pytest.mark.parametrize("content", [b"one,two\n", b"\n\n", b""])
def test_what_has_no_rows_leads_to_a_report_of_what_is_needed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content or b" ")
    period = parse_period("Q4 2024", NOW)

    markdown = table_report(Order("Q4 2024", "x.csv", period, period.before()), path, 128).as_markdown()

    assert "What is needed" in markdown
    assert "Q4 2024" in markdown
    assert len(markdown) > 200


@pytest.mark.parametrize(
    ("raw", "text"),
    [("größe".encode("utf-16"), "größe"), ("\ufeffgröße".encode(), "größe"), ("größe".encode("cp1252"), "größe")],
)
def test_other_encodings_are_understood(raw: bytes, text: str) -> None:
    assert as_utf8(raw).decode() == text


def attempt(description: str) -> Attempt:
    return Attempt("org", "user", uuid4(), 1, "analyze", description, NOW, upload_name="sales.csv")


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1_000):
        yield content[start : start + 1_000]


async def nothing(_percent: int, _step: str) -> None:
    """Progress that nobody looks at."""


async def test_the_child_process_gives_the_same_report(tmp_path: Path) -> None:
    analysis = TableAnalysis(128, timedelta(seconds=30))
    period = parse_period("revenue Q4 2024", NOW)

    report = await analysis.report(attempt("revenue Q4 2024"), period, pieces(sales().encode()), nothing)

    assert report.as_json() == analysed(tmp_path, sales(), "revenue Q4 2024").as_json()


async def test_bytes_that_are_no_table_are_reported_as_such() -> None:
    analysis = TableAnalysis(128, timedelta(seconds=30))
    noise = bytes(range(256)) * 40

    report = await analysis.report(attempt("Q4 2024"), parse_period("Q4 2024", NOW), pieces(noise), nothing)

    assert "What is needed" in [section.heading for section in report.sections] or report.findings


async def test_a_file_that_takes_too_long_is_refused_with_a_reason() -> None:
    analysis = TableAnalysis(128, timedelta(milliseconds=50))

    with pytest.raises(FileTooHard):
        await analysis.report(attempt("x"), parse_period("x", NOW), pieces(sales().encode()), nothing)
