"""The text of a table as header and rows."""

import pytest

from task_worker.jobs.tables.records import Sheet, read_sheet
from task_worker.jobs.tables.remarks import TableRefused


def rows(sheet: Sheet) -> list[tuple[str, ...]]:
    return list(zip(*sheet.columns, strict=True))


def said(sheet: Sheet) -> str:
    return "\n".join(remark.text for remark in sheet.remarks)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1;2\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a;b\n1,5;2\n3;4,5\n", ";"),
        ('a,b\n"1;2;3",x\n"4;5;6",y\n', ","),
        ("name\tnote\nx\thello, you\ny\tone, two, three\n", "\t"),
        ("a|b|c\nx;y|1,2|3\nz;w|4,5|6\n", "|"),
        ("comment\nhello there\nwell, yes\nfine\nok\n", ","),
        ("Report\n\na;b;c\n1;2;3\n4;5;6\n", ";"),
        ("a;b\r\n1;2\r\n", ";"),
        ("a;b\r1;2\r", ";"),
        ('"a;x";"b"\n"1";"2"\n', ";"),
    ],
)
def test_the_delimiter_is_the_one_that_makes_even_rows(text: str, delimiter: str) -> None:
    sheet = read_sheet(text)

    assert sheet.delimiter == delimiter
    assert len({len(row) for row in rows(sheet)}) == 1


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", "sep=;;;\n"])
def test_the_line_that_names_the_delimiter_is_obeyed_and_skipped(line: str) -> None:
    sheet = read_sheet(f"{line}a,x;b\n1,2;3\n")

    assert sheet.header == ("a,x", "b")
    assert rows(sheet) == [("1,2", "3")]
    assert "it was obeyed" in said(sheet)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('a,b\n"good\nbut slow",1\nfine,2\n', [("good\nbut slow", "1"), ("fine", "2")]),
        ('a,b\n"say ""hi""",1\n', [('say "hi"', "1")]),
        ('a,b\n"x, y",1\n', [("x, y", "1")]),
        ('a,b\n5" pipe,1\n', [('5" pipe', "1")]),
        ('a,b\n"5"" pipe",1\n', [('5" pipe', "1")]),
        ('a,b\n"",1\n', [("", "1")]),
        ('a,b\n "x" ,1\ny,2\n', [('"x"', "1"), ("y", "2")]),
        ('a,b\n"open,1\nx,2\ny,3\n', [('"open', "1"), ("x", "2"), ("y", "3")]),
        ('a,b\n"open,1\nx,"2"\ny,3\n', [('"open', "1"), ("x", "2"), ("y", "3")]),
        ('a,b\n"x"y,1\nz,2\n', [('"x"y', "1"), ("z", "2")]),
        ('a,b\n"1\r\n2",3\r\n', [("1\r\n2", "3")]),
        ("a,b\n'x',1\n", [("'x'", "1")]),
        ('a,b\n"x","1"', [("x", "1")]),
    ],
)
def test_quotation_marks_never_swallow_other_rows(text: str, cells: list[tuple[str, str]]) -> None:
    assert rows(read_sheet(text)) == cells


def test_a_quotation_mark_that_does_not_fit_is_said_with_its_line() -> None:
    sheet = read_sheet('a,b\nx,1\n"open,2\ny,3\n')

    assert "1 line with a quotation mark that does not fit" in said(sheet)
    assert "line 3" in said(sheet)


@pytest.mark.parametrize(
    ("text", "header", "left_out"),
    [
        (
            "Sales report 2024\n\ndate,region,amount\n2024-01-01,N,1\n",
            ("date", "region", "amount"),
            "Sales report 2024",
        ),
        ("Sales report,,\ndate,region,amount\n2024-01-01,N,1\n", ("date", "region", "amount"), "Sales report"),
        ("Report\nby team\n\na,b\n1,2\n3,4\n", ("a", "b"), "Report"),
        ("Title,\na,b\n1,2\n3,4\n", ("a", "b"), "Title"),
        (",a,b\n0,1,2\n1,3,4\n", ("column 1", "a", "b"), ""),
        ("a,b\n1,2\n", ("a", "b"), ""),
        ("region,2023,2024\nN,1,2\nS,3,4\n", ("region", "2023", "2024"), ""),
        ("hour,1,2,3\nN,1,2,5\nS,3,4,6\n", ("hour", "1", "2", "3"), ""),
    ],
)
def test_the_header_is_the_first_full_line(text: str, header: tuple[str, ...], left_out: str) -> None:
    sheet = read_sheet(text)

    assert sheet.header == header
    assert ("above the header left out" in said(sheet)) == bool(left_out)
    assert left_out in said(sheet)


def test_a_file_without_a_header_keeps_its_first_row() -> None:
    sheet = read_sheet("North,10\nSouth,20\nEast,30\n")

    assert rows(sheet) == [("North", "10"), ("South", "20"), ("East", "30")]
    assert sheet.header == ("column 1", "column 2")
    assert "looks like data" in said(sheet)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a,a,b", ("a", "a (2)", "b")),
        ("Name,name,NAME", ("Name", "name (2)", "NAME (3)")),
        ("a,,b", ("a", "column 2", "b")),
        ('"two\nlines",b,c', ("two lines", "b", "c")),
        ("a , b,c ", ("a", "b", "c")),
        ("column 2,,c", ("column 2", "column 2 (2)", "c")),
    ],
)
def test_every_column_has_a_name_of_its_own(header: str, names: tuple[str, ...]) -> None:
    assert read_sheet(f"{header}\nx,y,z\nu,v,w\n").header == names


def test_rows_that_are_too_short_or_too_long_lose_nothing_and_are_said() -> None:
    sheet = read_sheet("a,b\n1\n2,3\n4,5,surplus\n6,7\n")

    assert rows(sheet) == [("1", "", ""), ("2", "3", ""), ("4", "5", "surplus"), ("6", "7", "")]
    assert "1 row with fewer cells than the header (line 2)" in said(sheet)
    assert "1 row with more cells than the header (line 4)" in said(sheet)


def test_delimiters_at_the_end_of_lines_make_no_column() -> None:
    assert read_sheet("a;b;\n1;2;\n3;4;\n").header == ("a", "b")


def test_empty_lines_are_left_out_and_counted() -> None:
    sheet = read_sheet("a,b\n1,2\n\n,\n3,4\n")

    assert rows(sheet) == [("1", "2"), ("3", "4")]
    assert list(sheet.lines) == [2, 5]
    assert "2 empty lines left out" in said(sheet)


def test_unusual_line_separators_inside_text_split_no_row() -> None:
    assert rows(read_sheet("a,b\nx\u2028y\x0bz,1\n")) == [("x\u2028y\x0bz", "1")]


def test_a_cell_may_be_as_long_as_the_file() -> None:
    assert rows(read_sheet(f"a,b\n{'x' * 500_000},1\n"))[0][0] == "x" * 500_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no line with text"),
        ("\n \n,,\n", "no line with text"),
        ("one,two\n", "a header and no rows"),
        (",".join(f"c{i}" for i in range(201)) + "\n" + ",".join("x" * 201) + "\n", "201 columns and at most 200"),
    ],
)
def test_what_is_no_table_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(TableRefused, match=reason) as refused:
        read_sheet(text)

    assert "Send" in refused.value.detail


def test_the_reading_of_many_odd_quotation_marks_is_bounded() -> None:
    sheet = read_sheet("a,b\n" + '"x,1\n' * 5_000)

    assert len(sheet.lines) == 5_000
