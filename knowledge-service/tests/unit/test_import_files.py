"""How files become rows, and what is said of those that do not."""

import pytest

from knowledge_service.domain.import_files import Row, UnreadableFile, format_of, read_rows


def fields(file_format: str, content: str | bytes) -> list[dict[str, object]]:
    raw = content.encode() if isinstance(content, str) else content
    return [row.fields for row in read_rows(file_format, raw)]


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
    first, second = read_rows("csv", b"question,answer\na,b,c\nd,e\n")

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
        read_rows(file_format, content)

    assert refused.value.code == code


def test_a_broken_line_of_json_lines_is_its_own_row() -> None:
    good, broken, other = read_rows("jsonl", b'{"question": "Q?", "answer": "A."}\n{\n[]\n')

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
