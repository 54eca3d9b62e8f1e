"""The analysis of a table: by the report itself, and through the bounded child process."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from task_worker.domain.period import parse_period
from task_worker.domain.report import Finding, Report
from task_worker.domain.task import Attempt
from task_worker.jobs.tables import sandbox
from task_worker.jobs.tables.figures import Order
from task_worker.jobs.tables.remarks import TableRefused
from task_worker.jobs.tables.report import table_report
from task_worker.jobs.tables.sandbox import FileTooHard, TableAnalysis, TableProcessFailed

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
    period = parse_period(description, NOW)
    raw = text if isinstance(text, bytes) else text.encode()
    return table_report(Order(description, "sales.csv", period, period.before()), raw, tmp_path, 128)


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


def test_a_few_broken_cells_do_not_spoil_a_column_and_are_named(tmp_path: Path) -> None:
    lines = [f"2024-10-{day:02},{day}" for day in range(1, 29)]
    report = analysed(tmp_path, "day,amount\n" + "\n".join([*lines, "someday,7"]), "trend")

    assert (
        "`day`: 1 cell that are no dates are left out of its figures: `someday`." in report.extra["assumed"]["doubts"]
    )
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


@pytest.mark.parametrize("content", [b"one,two\n", b"\n\n", b" "])
def test_what_has_no_rows_is_refused_with_what_is_needed(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableRefused, match="Send a CSV"):
        analysed(tmp_path, content, "Q4 2024")


def numbers_of(report: Report, column: str) -> dict[str, Any]:
    table = finding(report, f"Median of {column}").table
    assert table is not None
    return dict(zip(table.columns, table.rows[0], strict=True))


def trend(report: Report) -> dict[Any, Any]:
    table = next(found.table for found in report.findings if found.title.startswith("Best "))
    assert table is not None
    return {row[0]: row[1] for row in table.rows}


def test_a_line_break_inside_a_cell_is_read(tmp_path: Path) -> None:
    report = analysed(tmp_path, 'date,comment,amount\n2024-01-01,"good\nbut slow",10\n2024-01-02,fine,20\n', "trend")

    assert numbers_of(report, "amount")["total"] == 30
    assert finding(report, "Rows").value == 2


def test_thousands_with_commas_add_up_and_the_doubt_is_said(tmp_path: Path) -> None:
    text = 'date,region,amount\n2024-01-03,N,950\n2024-01-14,S,"1,250"\n2024-02-03,N,"2,400"\n2024-02-14,S,"12,400"\n'

    report = analysed(tmp_path, text, "trend")

    assert numbers_of(report, "amount")["total"] == 17_000
    assert "**Please check:** `amount`: `1,250` was read as 1250" in report.as_markdown()
    assert "Please check one assumption" in report.summary


def test_few_currency_cells_among_zeros_add_up(tmp_path: Path) -> None:
    cells = ["$4.99" if number % 12 == 5 else "0" for number in range(60)]
    text = "item,price\n" + "".join(f"item {number},{cell}\n" for number, cell in enumerate(cells))

    assert numbers_of(analysed(tmp_path, text, "trend"), "price")["total"] == pytest.approx(24.95)


def test_euro_amounts_give_the_trend(tmp_path: Path) -> None:
    text = "Datum;Filiale;Betrag\n03.01.2024;N;3.100,50 €\n14.02.2024;S;14.200,50 €\n27.03.2024;N;27.300,50 €\n"

    report = analysed(tmp_path, text, "trend")

    assert trend(report) == {"2024-01": 3100.5, "2024-02": 14200.5, "2024-03": 27300.5}


def test_american_dates_stay_in_their_months(tmp_path: Path) -> None:
    days = [f"{month:02}/{day:02}/2024,{month * day}" for month in (1, 2, 3) for day in (1, 5, 12)]

    report = analysed(tmp_path, "date,amount\n" + "\n".join(days), "trend")

    assert trend(report) == {"2024-01": 18, "2024-02": 36, "2024-03": 54}
    assert any("month first" in doubt for doubt in report.extra["assumed"]["doubts"])


@pytest.mark.parametrize(
    ("days", "label", "values"),
    [
        (["January 3, 2024", "January 27, 2024", "March 27, 2024"], "month", {"2024-01": 3, "2024-03": 3}),
        (["2024-01", "2024-02", "2024-03"], "month", {"2024-01": 1, "2024-02": 2, "2024-03": 3}),
        (["2024-Q1", "2024-Q2", "2024-Q3"], "quarter", {"2024-Q1": 1, "2024-Q2": 2, "2024-Q3": 3}),
        (["2024-W01", "2024-W02", "2024-W03"], "week", {"2024-01-01": 1, "2024-01-08": 2, "2024-01-15": 3}),
        (["7-Mar-24", "8-Mar-24", "9-Mar-24"], "day", {"2024-03-07": 1, "2024-03-08": 2, "2024-03-09": 3}),
    ],
)
def test_the_trend_is_never_finer_than_the_dates(
    tmp_path: Path, days: list[str], label: str, values: dict[str, int]
) -> None:
    text = "when,n\n" + "".join(f'"{day}",{number}\n' for number, day in enumerate(days, 1))

    report = analysed(tmp_path, text, "trend")

    assert trend(report) == values
    assert any(found.title.startswith(f"Best {label} by n") for found in report.findings)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (-100, 50, "up by 150 from -100"),
        (50, -100, "down by 150 from 50"),
        (-100, -50, "up by 50 from -100"),
        (-50, -100, "down by 50 from -50"),
        (50, 100, "up 100.0 % from 50"),
        (0, 50, "there was nothing to compare with"),
        (50, 0, "down 100.0 % from 50"),
        (7, 7, "unchanged"),
    ],
)
def test_no_percentage_crosses_zero(tmp_path: Path, before: int, now: int, words: str) -> None:
    report = analysed(tmp_path, f"date,balance\n2024-01-01,{before}\n2024-02-01,{now}\n", "trend")

    found = next(f for f in report.findings if f.title.startswith("Change of"))
    assert words in found.detail
    assert found.title.endswith("percent") == (before > 0 and now >= 0)


def test_shares_in_percent_are_averaged(tmp_path: Path) -> None:
    report = analysed(tmp_path, "date,rate\n2024-01-01,10 %\n2024-01-01,20 %\n2024-01-02,40 %\n", "trend")

    assert trend(report) == {"2024-01-01": 15, "2024-01-02": 40}


@pytest.mark.parametrize("name", ["value", "day", "rows", "now", "before", "change", "month", "data"])
def test_no_name_of_a_column_mixes_up_the_queries(tmp_path: Path, name: str) -> None:
    text = f"date,{name},amount\n" + "".join(f"2024-01-{day:02},{'ab'[day % 2]},{day}\n" for day in range(1, 11))

    report = analysed(tmp_path, text, "trend")

    table = finding(report, f"Most frequent {name}").table
    assert table is not None
    assert table.rows == (("a", 5, 50), ("b", 5, 50))
    assert trend(report) == {f"2024-01-{day:02}": day for day in range(1, 11)}


def test_a_title_above_the_header_is_left_out_and_said(tmp_path: Path) -> None:
    report = analysed(tmp_path, "Sales 2024\n\ndate,region,amount\n2024-01-01,N,1\n2024-02-01,S,2\n", "trend")

    assert numbers_of(report, "amount")["total"] == 3
    assert "1 line above the header left out: `Sales 2024`" in report.as_markdown()


def test_encoding_and_delimiter_are_in_the_data(tmp_path: Path) -> None:
    report = analysed(tmp_path, "größe;n\nklein;1\ngroß;2\n".encode("cp1252"), "trend")

    assert report.extra["assumed"]["encoding"] == "Windows-1252 (Western Europe)"
    assert report.extra["assumed"]["delimiter"] == ";"
    assert finding(report, "Most frequent größe").value == "groß"


def test_sums_beyond_64_bits_can_be_kept(tmp_path: Path) -> None:
    report = analysed(tmp_path, "n,w\n" + "999999999999999,a\n999999999999999,b\n" * 6_000, "trend")

    assert numbers_of(report, "n")["total"] == pytest.approx(1.2e19)


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


async def test_bytes_that_are_no_table_are_refused_with_the_reason() -> None:
    analysis = TableAnalysis(128, timedelta(seconds=30))
    noise = bytes(range(32)) * 40

    with pytest.raises(TableRefused, match="binary data"):
        await analysis.report(attempt("Q4 2024"), parse_period("Q4 2024", NOW), pieces(noise), nothing)


async def test_a_child_that_breaks_does_not_blame_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MODULE", "task_worker.no_such_module")
    analysis = TableAnalysis(128, timedelta(seconds=30))

    with pytest.raises(TableProcessFailed):
        await analysis.report(attempt("x"), parse_period("x", NOW), pieces(b"a,b\n1,2\n"), nothing)


async def test_a_file_that_needs_too_much_memory_is_refused_with_a_reason() -> None:
    analysis = TableAnalysis(1, timedelta(seconds=60))
    wide = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * number) for number in range(40_000))

    with pytest.raises(FileTooHard):
        await analysis.report(attempt("x"), parse_period("x", NOW), pieces(wide), nothing)


async def test_a_file_that_takes_too_long_is_refused_with_a_reason() -> None:
    analysis = TableAnalysis(128, timedelta(milliseconds=50))

    with pytest.raises(FileTooHard):
        await analysis.report(attempt("x"), parse_period("x", NOW), pieces(sales().encode()), nothing)
