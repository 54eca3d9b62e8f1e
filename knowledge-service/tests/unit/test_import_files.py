"""How files become rows, and what is said of those that do not."""

import time

import pytest

from knowledge_service.domain.import_files import Limits, Row, UnreadableFile, Upload, format_of, read_rows


def fields(file_format: str, content: str | bytes) -> list[dict[str, object]]:
    raw = content.encode() if isinstance(content, str) else content
    return [row.fields for row in read_rows(Upload(file_format, raw))]


def test_a_csv_cell_may_hold_quotes_commas_and_lines() -> None:
    text = 'question,answer\n"Why, ""really""?","Line one\nline two"\n'

    assert fields("csv", text) == [{"question": 'Why, "really"?', "answer": "Line one\nline two"}]


def test_alternatives_and_tags_are_split_and_columns_of_others_passed_over() -> None:
    text = "notes,question,alternatives,answer,tags,language\nx,Q?,a | b||,A.,one; two,\n"

    assert fields("csv", text) == [
        {"question": "Q?", "alternatives": ["a", "b"], "answer": "A.", "tags": ["one", "two"]}
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheet_may_save_as_it_likes(encoding: str, delimiter: str) -> None:
    text = delimiter.join(("Question", "Answer")) + "\r\n" + delimiter.join(("Größe?", "Ärmel")) + "\r\n"

    assert fields("csv", text.encode(encoding)) == [{"question": "Größe?", "answer": "Ärmel"}]


def test_a_row_with_too_many_cells_is_named_and_the_others_are_read() -> None:
    first, second = read_rows(Upload("csv", b"question,answer\na,b,c\nd,e\n"))

    assert first.number == 1
    assert first.error is not None
    assert first.error.code == "too_many_columns"
    assert second == Row(2, {"question": "d", "answer": "e"})


@pytest.mark.parametrize(
    ("file_format", "content", "code"),
    [
        ("csv", b"", "missing_header"),
        ("csv", b"a,b\n", "missing_header"),
        ("csv", b'question,answer\n"open,b\n', "invalid_csv"),
        ("csv", b"question,answer\n\xff,b\n", "invalid_encoding"),
        ("json", b"{", "invalid_json"),
        ("json", b"5", "invalid_json"),
        ("markdown", b"no heading at all", "no_headings"),
    ],
)
def test_an_unreadable_file_says_why(file_format: str, content: bytes, code: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read_rows(Upload(file_format, content))

    assert refused.value.code == code


def test_a_broken_line_of_json_lines_is_its_own_row() -> None:
    good, broken, other = read_rows(Upload("jsonl", b'{"question": "Q?", "answer": "A."}\n{\n[]\n'))

    assert good.error is None
    assert [row.error and row.error.code for row in (broken, other)] == ["invalid_json", "not_an_object"]


def test_markdown_headings_are_questions_and_deeper_ones_belong_to_the_answer() -> None:
    text = (
        "# Help\n\nTo our customers.\n\n## Accounts\n\n### How do I log in?\n\nTags: login, start\n"
        "Alternatives: sign in | where is the login\n\nOpen **the page**.\n\n#### On a phone\n\n- tap\n\n"
        "### How do I log out?\n\n```\n# not a heading\n```\n"
    )

    assert fields("markdown", text) == [
        {
            "question": "How do I log in?",
            "tags": ["login", "start"],
            "alternatives": ["sign in", "where is the login"],
            "answer": "Open **the page**.\n\n#### On a phone\n\n- tap",
        },
        {"question": "How do I log out?", "answer": "```\n# not a heading\n```"},
    ]


@pytest.mark.parametrize(
    ("name", "media_type", "expected"),
    [
        ("a.CSV", "application/octet-stream", "csv"),
        ("a", "text/csv; charset=utf-8", "csv"),
        ("a.md", "", "markdown"),
        ("a.ndjson", "", "jsonl"),
        ("a.json", "text/plain", "json"),
        ("a.exe", "application/octet-stream", None),
        ("", "", None),
    ],
)
def test_the_format_is_told_by_name_then_by_type(name: str, media_type: str, expected: str | None) -> None:
    assert format_of(name, media_type) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04xl/workbook.xml", "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"%PDF-1.7", "PDF"),
    ],
)
@pytest.mark.parametrize("file_format", ["csv", "json", "jsonl", "markdown"])
def test_a_file_that_is_something_else_is_called_by_its_name(file_format: str, content: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as refused:
        read_rows(Upload(file_format, content))

    assert refused.value.code == "not_text"


@pytest.mark.parametrize("file_format", ["csv", "json", "jsonl", "markdown"])
def test_text_in_another_encoding_is_told_with_its_line(file_format: str) -> None:
    with pytest.raises(UnreadableFile, match=r"Line 2 .*Latin-1"):
        read_rows(Upload(file_format, b'[\n{"question": "Gr\xf6\xdfe?"}]'))


def test_a_missing_header_names_the_columns_that_are_there() -> None:
    with pytest.raises(UnreadableFile, match="it names: Frage, Antwort") as refused:
        read_rows(Upload("csv", b"Frage,Antwort\na,b\n"))

    assert refused.value.code == "missing_header"


def test_a_very_wide_header_is_not_repeated_whole() -> None:
    wide = ",".join(f"{'x' * 100}{number}" for number in range(500)).encode()

    with pytest.raises(UnreadableFile, match="and 490 more") as refused:
        read_rows(Upload("csv", wide + b"\n"))

    assert len(str(refused.value)) < 700


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        ("csv", b"question,answer\n" + b"a,b\n" * 11),
        ("json", b"[" + b",".join([b"{}"] * 11) + b"]"),
        ("jsonl", b"{}\n" * 11),
        ("markdown", b"# a\n\nb\n\n" * 11),
    ],
)
def test_more_rows_than_allowed_refuse_the_file_and_name_the_bound(file_format: str, content: bytes) -> None:
    limits = Limits(rows=10)

    with pytest.raises(UnreadableFile, match="more than 10 articles") as refused:
        read_rows(Upload(file_format, content), limits)

    assert refused.value.code == "too_many_rows"
    assert len(read_rows(Upload(file_format, content), Limits(rows=11))) == 11


@pytest.mark.parametrize("line", [b"# a\n", b"a\n---\n", b"a\n===\n", b"   ###### \n", b"#\ta\n"])
def test_headings_are_counted_before_they_are_parsed(line: bytes) -> None:
    with pytest.raises(UnreadableFile, match="more than 10 headings") as refused:
        read_rows(Upload("markdown", line * 11), Limits(headings=10))

    assert refused.value.code == "too_many_headings"


def test_reading_headings_takes_time_in_proportion_to_their_number() -> None:
    def took(headings: int) -> float:
        began = time.process_time()
        read_rows(Upload("markdown", b"# a\n\nb\n\n" * headings))
        return time.process_time() - began

    took(1_000)
    assert took(16_000) < 12 * took(4_000), "quadratic would be sixteen times"


def test_lines_end_where_markdown_says_and_nowhere_else() -> None:
    text = "# One?\r\nfirst\x0bstill first\u2028and still\r# Two?\nsecond\n"

    assert fields("markdown", text) == [
        {"question": "One?", "answer": "first\x0bstill first\u2028and still"},
        {"question": "Two?", "answer": "second"},
    ]


def test_sections_end_at_the_next_heading_that_is_not_deeper() -> None:
    text = "## A?\n\na\n\n### deeper\n\nb\n\n# Chapter\n\n## B?\n\nc\n\n## C?\n\nd\n"

    assert fields("markdown", text) == [
        {"question": "A?", "answer": "a\n\n### deeper\n\nb"},
        {"question": "B?", "answer": "c"},
        {"question": "C?", "answer": "d"},
    ]
