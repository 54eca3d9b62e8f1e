"""Dates as people write them."""

# ruff: noqa: RUF001, DTZ001 - the letters and calendar days of the world

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_worker.jobs.tables.dates import (
    DateColumn,
    Order,
    is_sorted,
    read_compact,
    read_dates,
    read_seconds,
    read_serials,
    read_years,
)


def column(*cells: str, likely: Order = "month first", is_settled: bool = False) -> DateColumn:
    found = read_dates(cells, likely, is_settled=is_settled)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2024-01-31", "2024-01-31"),
        ("2024/1/31", "2024-01-31"),
        ("2024.01.31", "2024-01-31"),
        ("31.01.2024", "2024-01-31"),
        ("31.1.24", "2024-01-31"),
        ("31. 1. 2024", "2024-01-31"),
        ("31/01/2024", "2024-01-31"),
        ("31-01-2024", "2024-01-31"),
        ("01/31/2024", "2024-01-31"),
        ("1/31/24", "2024-01-31"),
        ("January 31, 2024", "2024-01-31"),
        ("Jan 31 2024", "2024-01-31"),
        ("January 3rd, 2024", "2024-01-03"),
        ("3rd of March 2024", "2024-03-03"),
        ("7-Mar-24", "2024-03-07"),
        ("07-MAR-2024", "2024-03-07"),
        ("2024-Mar-07", "2024-03-07"),
        ("Wed, 03 Jan 2024", "2024-01-03"),
        ("Tuesday, January 16, 2024", "2024-01-16"),
        ("3. März 2024", "2024-03-03"),
        ("Mittwoch, 3. Januar 2024", "2024-01-03"),
        ("3. Dez. 2024", "2024-12-03"),
        ("1er janvier 2024", "2024-01-01"),
        ("14 févr. 2024", "2024-02-14"),
        ("3 août 2024", "2024-08-03"),
        ("3 de enero de 2024", "2024-01-03"),
        ("3 dic 2024", "2024-12-03"),
        ("3 gennaio 2024", "2024-01-03"),
        ("3 mei 2024", "2024-05-03"),
        ("2024年1月3日", "2024-01-03"),
        ("2024년 1월 3일", "2024-01-03"),
        ("２０２４-01-03", "2024-01-03"),
        ("1/3/70", "1970-01-03"),
        ("0987-01-03", "0987-01-03"),
    ],
)
def test_a_day_is_read_however_it_is_written(cell: str, day: str) -> None:
    found = column(cell)

    assert {moment.date() for moment in found.values.values()} == {date.fromisoformat(day)}
    assert found.grain == "day"


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2024-01-31T14:05:06", "2024-01-31T14:05:06"),
        ("2024-01-31 14:05", "2024-01-31T14:05:00"),
        ("2024-01-31T14:05:06.250Z", "2024-01-31T14:05:06.250000"),
        ("2024-01-31T00:30:00+02:00", "2024-01-30T22:30:00"),
        ("2024-01-31 23:30:00 -0500", "2024-02-01T04:30:00"),
        ("1/31/2024 2:05 PM", "2024-01-31T14:05:00"),
        ("1/31/2024 12:05 am", "2024-01-31T00:05:00"),
        ("31.01.2024 14:05 Uhr", "2024-01-31T14:05:00"),
        ("31.01.2024, 14:05:06", "2024-01-31T14:05:06"),
        ("Jan 31, 2024 at 14:05", "2024-01-31T14:05:00"),
        ("20240131T140506Z", "2024-01-31T14:05:06"),
        ("2024-01-31 14:05:06,123", "2024-01-31T14:05:06.123000"),
    ],
)
def test_times_are_read_and_turned_into_utc(cell: str, moment: str) -> None:
    assert column(cell).values == {cell: datetime.fromisoformat(moment)}


@pytest.mark.parametrize(
    ("cell", "day", "grain"),
    [
        ("2024-03", "2024-03-01", "month"),
        ("2024/03", "2024-03-01", "month"),
        ("03/2024", "2024-03-01", "month"),
        ("3.2024", "2024-03-01", "month"),
        ("Mar-24", "2024-03-01", "month"),
        ("Mar 2024", "2024-03-01", "month"),
        ("März 2024", "2024-03-01", "month"),
        ("marzo de 2024", "2024-03-01", "month"),
        ("mars 2024", "2024-03-01", "month"),
        ("2024 March", "2024-03-01", "month"),
        ("2024M03", "2024-03-01", "month"),
        ("2024年3月", "2024-03-01", "month"),
        ("Q2 2024", "2024-04-01", "quarter"),
        ("2024-Q2", "2024-04-01", "quarter"),
        ("2024Q2", "2024-04-01", "quarter"),
        ("Q2/24", "2024-04-01", "quarter"),
        ("2Q24", "2024-04-01", "quarter"),
        ("T2 2024", "2024-04-01", "quarter"),
        ("2. Quartal 2024", "2024-04-01", "quarter"),
        ("2nd quarter 2024", "2024-04-01", "quarter"),
        ("2024-W05", "2024-01-29", "week"),
        ("2024W05", "2024-01-29", "week"),
        ("KW 5 2024", "2024-01-29", "week"),
        ("KW05/2024", "2024-01-29", "week"),
        ("week 5, 2024", "2024-01-29", "week"),
        ("2024-W05-3", "2024-01-31", "day"),
    ],
)
def test_months_quarters_and_weeks_stand_for_their_first_day(cell: str, day: str, grain: str) -> None:
    found = column(cell)

    assert [moment.date().isoformat() for moment in found.values.values()] == [day]
    assert found.grain == grain


@pytest.mark.parametrize(
    "cell",
    [
        "2024-02-30",
        "32.01.2024",
        "2024-13-01",
        "12:30",
        "hello 3",
        "1.2.3",
        "Room 12",
        "A-12",
        "10.0.0.1",
        "5 Nord 2024",
        "",
        "-",
        "2024-W60",
    ],
)
def test_what_is_no_date_is_none(cell: str) -> None:
    assert read_dates([cell], "day first") is None


@pytest.mark.parametrize(
    ("cells", "order", "is_certain"),
    [
        (("13/02/2024", "01/02/2024"), "day first", True),
        (("02/13/2024", "01/02/2024"), "month first", True),
        (("01/01/2024", "01/05/2024", "01/12/2024", "02/01/2024"), "month first", False),
        (("01/01/2024", "05/01/2024", "12/01/2024", "01/02/2024"), "day first", False),
        (("12/03/2024", "05/03/2024", "01/03/2024"), "day first", False),
        (("03/01/2024", "01/01/2024", "02/01/2024"), "day first", False),
        (("01/03/2024", "01/01/2024", "01/02/2024"), "month first", False),
        (("05.01.2024", "03.02.2024", "01.03.2024"), "day first", False),
        (("01/01/2024", "02/02/2024"), "month first", True),
        (("24-01-30", "24-02-29"), "year first", False),
        (("13/02/2024", "02/13/2024"), "month first", False),
    ],
)
def test_the_order_of_day_and_month_is_decided_for_the_column(
    cells: tuple[str, ...], order: Order, *, is_certain: bool
) -> None:
    found = column(*cells)

    assert (found.order, found.is_certain) == (order, is_certain)


def test_the_order_of_american_dates_keeps_the_months() -> None:
    cells = [f"{month:02}/{day:02}/2024" for month in (1, 2, 3) for day in (1, 5, 12)]

    found = column(*cells, likely="day first")

    assert sorted({moment.month for moment in found.values.values()}) == [1, 2, 3]


def test_dates_that_fit_only_the_other_order_are_left_and_named() -> None:
    found = column("13/02/2024", "14/02/2024", "02/15/2024")

    assert found.left == ("02/15/2024",)
    assert not found.is_certain


def test_the_order_of_other_columns_holds_here() -> None:
    found = column("05/01/2024", "03/02/2024", likely="day first", is_settled=True)

    assert found.values["05/01/2024"] == datetime(2024, 1, 5)
    assert found.is_certain


def test_short_years_and_offsets_are_noted() -> None:
    assert column("31.1.24").short_years
    assert column("2024-01-31T00:30:00+02:00").zones
    assert not column("2024-01-31").zones


@pytest.mark.parametrize(
    ("read", "cells", "days"),
    [
        (read_compact, ["20240131", "20240201"], ["2024-01-31", "2024-02-01"]),
        (read_compact, ["20240131", "20241301"], None),
        (read_compact, ["12345678"], None),
        (read_years, ["2023", "2024"], ["2023-01-01", "2024-01-01"]),
        (read_years, ["2023", "500"], None),
        (read_serials, ["45292", "45293.5"], ["2024-01-01", "2024-01-02"]),
        (read_serials, ["45292", "7"], None),
        (read_seconds, ["1704067200", "1704153600"], ["2024-01-01", "2024-01-02"]),
        (read_seconds, ["1704067200000"], ["2024-01-01"]),
        (read_seconds, ["170406720"], None),
        (read_years, [], None),
    ],
)
def test_dates_in_plain_numbers_are_all_dates_or_none(read: object, cells: list[str], days: list[str] | None) -> None:
    assert callable(read)
    found = read(cells)

    assert (None if found is None else [found[cell].date().isoformat() for cell in cells]) == days


@pytest.mark.parametrize(
    ("days", "expected"), [((1, 2, 3), True), ((3, 2, 2), True), ((1, 1), False), ((1, 3, 2), False), ((), False)]
)
def test_sorted_is_rising_or_falling_all_the_way(days: tuple[int, ...], *, expected: bool) -> None:
    assert is_sorted([datetime(2024, 1, day) for day in days]) is expected


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STYLES = {
    "iso": lambda d: d.isoformat(),
    "german": lambda d: f"{d.day:02}.{d.month:02}.{d.year}",
    "american": lambda d: f"{d.month}/{d.day}/{d.year}",
    "british": lambda d: f"{d.day}/{d.month}/{d.year}",
    "named": lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    "week": lambda d: "{}-W{:02}-{}".format(*d.isocalendar()),
}


@given(st.sampled_from(sorted(STYLES)), st.dates(date(1990, 1, 1), date(2030, 1, 1)))
def test_two_months_of_days_in_order_are_read_in_every_style(style: str, first: date) -> None:
    days = [first + timedelta(days=number) for number in range(60)]
    cells = [STYLES[style](day) for day in days]

    found = column(*cells)

    assert [found.values[cell].date() for cell in cells] == days
    assert found.left == ()
