"""What each column is: decided as a whole, with nothing dropped unsaid."""

import pytest

from task_worker.jobs.tables.columns import Recognised, recognise
from task_worker.jobs.tables.records import read_sheet


def table(text: str) -> Recognised:
    return recognise(read_sheet(text))


def one(*cells: str, name: str = "x", delimiter: str = ",") -> Recognised:
    """A table with a column of these cells beside a column of words."""
    quoted = (f'"{cell}"' for cell in cells)
    return table(f"{name}{delimiter}word\n" + "\n".join(f"{cell}{delimiter}w" for cell in quoted) + "\n")


def said(found: Recognised) -> str:
    return "\n".join(remark.text for remark in found.remarks)


def doubts(found: Recognised) -> str:
    return "\n".join(remark.text for remark in found.remarks if remark.is_doubt)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "2"], "BIGINT", ["1", "2"]),
        (["1", "2.5"], "DOUBLE", ["1", "2.5"]),
        (["$5", "0", "7"], "BIGINT", ["5", "0", "7"]),
        (["(3)", "4"], "BIGINT", ["-3", "4"]),
        (["2024-01-31", "2024-02-01"], "DATE", ["2024-01-31", "2024-02-01"]),
        (["2024-01-31 10:00", "2024-02-01"], "TIMESTAMP", ["2024-01-31 10:00:00.000000", "2024-02-01 00:00:00.000000"]),
        (["a", "b"], "VARCHAR", ["a", "b"]),
        (["01234", "99999"], "VARCHAR", ["01234", "99999"]),
        (["4111111111111111", "1"], "VARCHAR", ["4111111111111111", "1"]),
        (["2024-03", "2024-04"], "DATE", ["2024-03-01", "2024-04-01"]),
        (["yes", "no"], "VARCHAR", ["yes", "no"]),
        (["1", "n/a", "3"], "BIGINT", ["1", "", "3"]),
        (["12:30", "13:00"], "VARCHAR", ["12:30", "13:00"]),
        (["99,999,999,999,999,999,999", "1"], "DOUBLE", ["99999999999999999999", "1"]),
    ],
)
def test_a_column_gets_its_kind_and_values(cells: list[str], kind: str, values: list[str]) -> None:
    column = one(*cells).columns[0]

    assert (column.kind, list(column.cells)) == (kind, values)


def test_a_few_currency_signs_among_zeros_are_amounts() -> None:
    column = one(*["0"] * 55, *["$4.99"] * 5, name="price").columns[0]

    assert sum(float(cell) for cell in column.cells) == pytest.approx(24.95)


def test_a_single_mistake_is_left_out_by_name() -> None:
    found = one(*(str(number) for number in range(20)), "someday")

    assert found.columns[0].kind == "BIGINT"
    assert "1 cell that are no numbers" in doubts(found) or "`someday`" in doubts(found)


@pytest.mark.parametrize("odd", ["4 each", "12kg", "3 x 5"])
def test_a_second_way_of_writing_values_keeps_the_column_as_text(odd: str) -> None:
    found = one(*["0"] * 55, *[odd] * 5)

    assert found.columns[0].kind == "VARCHAR"
    assert list(found.columns[0].cells).count(odd) == 5
    assert "was kept as text: 5 of 60 cells are no numbers" in doubts(found)


def test_words_for_no_value_are_said_where_they_count_as_empty() -> None:
    assert "`n/a` (2 cells) counts as empty" in said(one("1", "n/a", "n/a", "4"))
    assert list(one("n/a", "b").columns[0].cells) == ["n/a", "b"]


def test_a_certain_column_settles_the_others() -> None:
    found = table('price,weight\n"3,5","1,250"\n"4,75","2,400"\n')

    assert list(found.columns[1].cells) == ["1.25", "2.4"]
    assert doubts(found) == ""


def test_a_doubtful_separator_is_said_with_both_values() -> None:
    found = one("950", "1,250", "12,400", name="amount")

    assert list(found.columns[0].cells) == ["950", "1250", "12400"]
    assert "`1,250` was read as 1250; it could also mean 1.25" in doubts(found)


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        (["$5", "5 €"], "mixes currencies"),
        (["12 %", "5"], "1 of 2 cells have a percent sign"),
        (["01/05/2024", "01/12/2024", "02/01/2024"], "month first"),
        (["13/02/2024"] * 20 + ["02/13/2024"], "left out of its figures: `02/13/2024`"),
    ],
)
def test_doubts_are_said(cells: list[str], word: str) -> None:
    assert word in doubts(one(*cells))


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        (["12 %", "5 %"], "averaged, not added up"),
        (["(5)", "3"], "numbers in brackets are below zero"),
        (["€5", "€3"], "amounts in `€`"),
        (["13/02/2024", "01/02/2024"], "(day first)"),
        (["2024-03", "2024-04"], "each month stands for its first day"),
        (["31.1.24", "1.2.24"], "years of two digits"),
        (["2024-01-31T00:30:00+02:00"], "turned into UTC"),
        (["3.100,50", "5"], "`3.100,50` was read as 3100.5"),
    ],
)
def test_assumptions_are_said(cells: list[str], word: str) -> None:
    assert word in said(one(*cells))


@pytest.mark.parametrize(
    ("name", "cells", "kind", "value"),
    [
        ("year", ["2023", "2024"], "DATE", "2023-01-01"),
        ("Jahr", ["2023", "2024"], "DATE", "2023-01-01"),
        ("amount", ["2023", "2024"], "BIGINT", "2023"),
        ("date", ["45292", "45293"], "DATE", "2024-01-01"),
        ("amount", ["45292", "45293"], "BIGINT", "45292"),
        ("order date", ["20240131", "20240201"], "DATE", "2024-01-31"),
        ("created", ["1704067200", "1704153600"], "DATE", "2024-01-01"),
    ],
)
def test_numbers_are_dates_only_under_a_name_that_says_so(name: str, cells: list[str], kind: str, value: str) -> None:
    column = one(*cells, name=name).columns[0]

    assert (column.kind, column.cells[0]) == (kind, value)


@pytest.mark.parametrize("label", ["Total", "TOTAL:", "Summe", "Gesamt", "Grand total", "合計", "Somme"])
def test_a_row_of_totals_is_left_out_when_its_sums_are_right(label: str) -> None:
    found = table(f"region,amount\nNorth,10\nSouth,20\n{label},30\n")

    assert list(found.columns[1].cells) == ["10", "20"]
    assert "1 row of totals left out (line 4)" in said(found)


def test_subtotals_and_a_bare_last_row_are_left_out_too() -> None:
    found = table("region,amount\nN,1\nN,2\nSubtotal,3\nS,4\nS,5\nSubtotal,9\n,12\n")

    assert list(found.columns[1].cells) == ["1", "2", "4", "5"]
    assert "3 rows of totals left out" in said(found)


def test_a_row_that_is_only_named_like_a_total_stays_and_is_said() -> None:
    found = table("company,amount\nShell,10\nBP,20\nTotal,7\n")

    assert list(found.columns[1].cells) == ["10", "20", "7"]
    assert "named like totals" in doubts(found)


def test_a_total_in_the_column_of_dates_spoils_it_not() -> None:
    found = table("date,amount\n2024-01-01,10\n2024-02-01,20\nTotal,30\n")

    assert [column.kind for column in found.columns] == ["DATE", "BIGINT"]
    assert list(found.columns[0].cells) == ["2024-01-01", "2024-02-01"]
