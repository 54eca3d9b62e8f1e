"""The bytes of a table as text: which encoding is assumed, and that it is said."""

import pytest

from task_worker.domain.task import TaskImpossible
from task_worker.jobs.tables.decoding import decode

GERMAN = "Datum;Filiale;Betrag\n03.01.2024;Süd;3.100,50\n04.01.2024;Nord;5\n05.01.2024;Köln;7\n"
FRENCH = "date,produit,prix\n2024-01-01,Crème brûlée,3\n2024-01-02,Café,4\n2024-02-01,Garçon,5\n"
SPANISH = "fecha;niño;año\n1;España;3\n2;Señor;3\n"
POLISH = "data;miasto;kwota\n1;Łódź;3\n2;Kraków;4\n3;Gdańsk;5\n4;Wrocław;1\n"
CZECH = "datum;město\n1;Plzeň\n2;Ústí\n3;Příbram\n"
RUSSIAN = "дата;город;сумма\n1;Москва;3\n2;Казань;4\n"
GREEK = "ημερομηνία;πόλη;ποσό\n1;Αθήνα;3\n2;Θεσσαλονίκη;4\n"
TURKISH = "tarih;şehir;tutar\n1;İstanbul;3\n2;Eskişehir;4\n3;Muğla;3\n"
HEBREW = "תאריך;עיר;סכום\n1;ירושלים;3\n2;חיפה;4\n"
ARABIC = "تاريخ;مدينة;مبلغ\n1;القاهرة;3\n2;دمشق;4\n"
THAI = "วันที่,เมือง,ยอด\n1,กรุงเทพ,3\n2,เชียงใหม่,4\n"
LITHUANIAN = "data;miestas\n1;Šiauliai\n2;Klaipėda\n3;Mažeikių\n"
CHINESE = "日期,地区,金额\n2024-01-01,北京,3\n2024-01-02,上海,4\n"
NAMES = "日期,客户,金额\n2024-01-01,张伟,3\n2024-01-02,李娜,4\n"
TAIWANESE = "日期,地區,金額\n2024-01-01,臺北,3\n2024-01-02,高雄,4\n"
JAPANESE = "日付,地域,金額\n2024-01-01,東京,3\n2024-01-02,りんご,4\n"
KATAKANA = "日付,商品,金額\n2024-01-01,リンゴ,3\n2024-01-02,バナナ,4\n"
KOREAN = "날짜,지역,금액\n2024-01-01,서울,3\n2024-01-02,부산,4\n"
EURO = "Datum;Betrag\n01.01.2024;5 €\n"


@pytest.mark.parametrize(
    ("text", "codec", "label"),
    [
        (GERMAN, "cp1252", "Windows-1252"),
        (FRENCH, "cp1252", "Windows-1252"),
        (SPANISH, "cp1252", "Windows-1252"),
        (EURO, "cp1252", "Windows-1252"),
        (EURO, "iso8859_15", "ISO 8859-15"),
        (GERMAN, "mac_roman", "Mac Roman"),
        (FRENCH, "mac_roman", "Mac Roman"),
        (GERMAN, "cp850", "code page 850"),
        (POLISH, "cp1250", "Windows-1250"),
        (CZECH, "cp1250", "Windows-1250"),
        (POLISH, "iso8859_2", "ISO 8859-2"),
        (RUSSIAN, "cp1251", "Windows-1251"),
        (RUSSIAN, "koi8_r", "KOI8"),
        (RUSSIAN, "cp866", "code page 866"),
        (GREEK, "cp1253", "Windows-1253"),
        (TURKISH, "cp1254", "Windows-1254"),
        (HEBREW, "cp1255", "Windows-1255"),
        (ARABIC, "cp1256", "Windows-1256"),
        (THAI, "cp874", "Windows-874"),
        (LITHUANIAN, "cp1257", "Windows-1257"),
        (CHINESE, "gbk", "GBK"),
        (NAMES, "gb18030", "GBK"),
        (TAIWANESE, "big5", "Big5"),
        (JAPANESE, "shift_jis", "Shift-JIS"),
        (KATAKANA, "cp932", "Shift-JIS"),
        (JAPANESE, "euc_jp", "EUC-JP"),
        (KOREAN, "euc_kr", "EUC-KR"),
        (CHINESE, "utf-16", "UTF-16"),
        (GERMAN, "utf-16-le", "UTF-16"),
        (JAPANESE, "utf-16-be", "UTF-16"),
        (RUSSIAN, "utf-32", "UTF-32"),
    ],
)
def test_an_encoding_is_recognised_by_its_letters_and_said(text: str, codec: str, label: str) -> None:
    decoded = decode(text.encode(codec))

    assert decoded.text == text
    assert decoded.encoding.startswith(label)
    assert any(label in remark.text for remark in decoded.remarks)


@pytest.mark.parametrize("text", [GERMAN, CHINESE, RUSSIAN, "plain,ascii\n1,2\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf_8_needs_no_remark_with_or_without_a_mark(text: str, mark: bytes) -> None:
    decoded = decode(mark + text.encode())

    assert decoded.text == text
    assert decoded.remarks == ()


def test_a_choice_between_two_fitting_encodings_is_a_doubt() -> None:
    decoded = decode("city\nGdańsk\n".encode("cp1250"))

    assert [remark.is_doubt for remark in decoded.remarks] == [True]
    assert "save the file as UTF-8" in decoded.remarks[0].text


def test_a_few_broken_bytes_do_not_make_utf_8_another_encoding() -> None:
    raw = (GERMAN * 20).encode() + b"bad \xff byte;1;2\n"

    decoded = decode(raw)

    assert decoded.text == GERMAN * 20 + "bad \ufffd byte;1;2\n"
    assert "1 place" in decoded.remarks[0].text
    assert decoded.remarks[0].is_doubt


def test_nul_characters_are_replaced_and_said() -> None:
    decoded = decode(b"date,region,amount\n2024-01-01,Nor\x00th,1\n")

    assert decoded.text == "date,region,amount\n2024-01-01,Nor\ufffdth,1\n"
    assert "1 NUL character" in decoded.remarks[0].text


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"\xd0\xcf\x11\xe0rest", "XLS"),
        (b"\x1f\x8brest", "gzip"),
        (b"%PDF-1.7", "PDF"),
        (b"PAR1rest", "Parquet"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"\x89PNG\r\n", "picture"),
        (bytes(range(32)) * 40, "binary"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_its_name_with_what_to_do(start: bytes, word: str) -> None:
    with pytest.raises(TaskImpossible, match=word) as refused:
        decode(start)

    assert "CSV" in refused.value.detail
    assert refused.value.code == "unreadable_table"
