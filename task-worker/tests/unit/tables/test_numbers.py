"""Numbers as people write them."""

# ruff: noqa: RUF001 - the letters of the world

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_worker.jobs.tables.numbers import (
    Convention,
    NumberColumn,
    has_leading_zeros,
    is_missing,
    is_too_long,
    read_numbers,
)

ENGLISH, GERMAN = Convention(".", ","), Convention(",", ".")


def column(*cells: str, likely: Convention = ENGLISH, is_settled: bool = False) -> NumberColumn:
    found = read_numbers(Counter(cells), likely, is_settled=is_settled)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("\u22125", -5),
        ("\u20135", -5),
        ("5-", -5),
        ("+5", 5),
        ("(14.00)", -14.0),
        ("($1,200.50)", -1200.5),
        ("(5 €)", -5),
        ("- 5", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("$4.99", 4.99),
        ("3.100,50 €", 3100.5),
        ("€ 3.100,50", 3100.5),
        ("£1,000.25", 1000.25),
        ("US$5.50", 5.5),
        ("R$ 1.000,75", 1000.75),
        ("EUR 12", 12),
        ("12 EUR", 12),
        ("5 kr", 5),
        ("1.234,50 zł", 1234.5),
        ("Rs. 500", 500),
        ("¥1200", 1200),
        ("CHF 1’200.–", 1200),
        ("5,-- €", 5),
        ("12 %", 12),
        ("12,5%", 12.5),
        ("12.5 %", 12.5),
        ("3 ‰", 3),
        ("1,234,567", 1234567),
        ("1,234.5", 1234.5),
        ("1.234.567", 1234567),
        ("1.234,5", 1234.5),
        ("1 234,56", 1234.56),
        ("1\u00a0234,56", 1234.56),
        ("1\u202f234\u202f567", 1234567),
        ("1'234'567.5", 1234567.5),
        ("1’234.50", 1234.5),
        ("12,34,567.00", 1234567.0),
        ("₹1,00,000", 100000),
        ("0,125", 0.125),
        (".5", 0.5),
        (",5", 0.5),
        ("5.", 5),
        ("1e5", 100000.0),
        ("1.5E-3", 0.0015),
        ("１２３", 123),
        ("'42", 42),
    ],
)
def test_a_number_is_read_however_it_is_written(cell: str, value: float) -> None:
    assert column(cell).values == {cell: pytest.approx(value)}


@pytest.mark.parametrize(
    "cell",
    [
        "12kg",
        "1.2.3",
        "10.0.0.1",
        "1,2,3",
        "2024-01-03",
        "12:30",
        "abc",
        "5 of 6",
        "(5",
        "5)",
        "--5",
        "1,23,4",
        "$5€",
        "1e999",
    ],
)
def test_what_is_no_number_is_none(cell: str) -> None:
    found = read_numbers(Counter([cell]), ENGLISH)

    assert found is None or cell in found.left


def test_three_digits_after_every_comma_are_thousands_and_a_doubt() -> None:
    found = column("950", "1,250", "2,400", "12,400")

    assert sum(found.values.values()) == 17_000
    assert not found.is_certain


@pytest.mark.parametrize(
    ("cells", "likely", "values"),
    [
        (("1,250", "2,5"), ENGLISH, [1.25, 2.5]),
        (("1,250", "0,125"), ENGLISH, [1.25, 0.125]),
        (("1,250", "1,250,000"), ENGLISH, [1250, 1250000]),
        (("1,250", "3.5"), ENGLISH, [1250, 3.5]),
        (("1,250.00", "2,400.00"), GERMAN, [1250, 2400]),
        (("1.250", "2.5"), GERMAN, [1.25, 2.5]),
        (("1.250", "3,5"), GERMAN, [1250, 3.5]),
        (("1.250", "1.250.000"), ENGLISH, [1250, 1250000]),
    ],
)
def test_one_telling_cell_decides_for_the_column(
    cells: tuple[str, ...], likely: Convention, values: list[float]
) -> None:
    found = column(*cells, likely=likely)

    assert [found.values[cell] for cell in cells] == values
    assert found.is_certain


@pytest.mark.parametrize(
    ("cells", "likely", "values"),
    [
        (("1,250", "2,400"), ENGLISH, [1250, 2400]),
        (("1,250", "2,400"), GERMAN, [1.25, 2.4]),
        (("1.250", "2.400"), ENGLISH, [1.25, 2.4]),
        (("1.250", "2.400"), GERMAN, [1250, 2400]),
        (("1,250", "12400"), ENGLISH, [1.25, 12400]),
        (("1.250", "12400"), GERMAN, [1.25, 12400]),
    ],
)
def test_where_no_cell_tells_the_likelier_is_taken_and_said_to_be_a_doubt(
    cells: tuple[str, ...], likely: Convention, values: list[float]
) -> None:
    found = column(*cells, likely=likely)

    assert [found.values[cell] for cell in cells] == values
    assert not found.is_certain


def test_what_other_columns_settled_holds_here() -> None:
    found = column("1,250", "2,400", likely=GERMAN, is_settled=True)

    assert found.values == {"1,250": 1.25, "2,400": 2.4}
    assert found.is_certain


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "-",
        "--",
        "n/a",
        "N/A",
        "#N/A",
        "NA",
        "NaN",
        "null",
        "NULL",
        "None",
        "k.A.",
        "unknown",
        "tbd",
        "—",
        "?",
        "#DIV/0!",
        "(blank)",
    ],
)
def test_the_usual_words_for_no_value_are_known(cell: str) -> None:
    assert is_missing(cell)
    assert cell not in column("1", cell).left


@pytest.mark.parametrize("cell", ["0", "no", "free", "Naples", "1.", "n"])
def test_values_are_not_taken_for_missing(cell: str) -> None:
    assert not is_missing(cell)


def test_currencies_percents_and_brackets_are_counted() -> None:
    found = column("$5", "5 €", "7 %", "(3)", "free")

    assert found.currencies == ("$", "€")
    assert (found.percents, found.brackets, found.left) == (1, True, ("free",))


def test_codes_are_told_from_numbers() -> None:
    assert has_leading_zeros(["12345", "01234"])
    assert not has_leading_zeros(["0", "10", "0.5"])
    assert is_too_long(["4111111111111111"])
    assert not is_too_long(["411111111111111"])


STYLES = {
    "en": lambda n: f"{n:,.2f}",
    "de": lambda n: f"{n:,.2f}".translate(str.maketrans(",.", ".,")),
    "fr": lambda n: f"{n:,.2f}".translate(str.maketrans(",.", "\u202f,")),
    "ch": lambda n: f"{n:,.2f}".replace(",", "\u2019"),
    "plain": lambda n: f"{n:.2f}",
    "comma": lambda n: f"{n:.2f}".replace(".", ","),
}


@given(
    st.sampled_from(sorted(STYLES)),
    st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=20),
    st.sampled_from(["{}", "${}", "{} €", "EUR {}", "{} %"]),
    st.sampled_from([ENGLISH, GERMAN]),
)
def test_amounts_with_cents_are_read_in_every_style(
    style: str, cents: list[int], dress: str, likely: Convention
) -> None:
    amounts = [number / 100 for number in cents]
    cells = [dress.format(STYLES[style](amount)) for amount in amounts]

    found = column(*cells, likely=likely)

    assert [found.values[cell] for cell in cells] == pytest.approx(amounts)
    assert found.is_certain
    assert found.left == ()


@given(st.lists(st.text(max_size=12), min_size=1, max_size=30))
def test_no_text_is_lost_whatever_it_is(cells: list[str]) -> None:
    found = read_numbers(Counter(cells), ENGLISH)

    if found is not None:
        assert set(found.values) | set(found.left) | {cell for cell in cells if is_missing(cell)} == set(cells)
