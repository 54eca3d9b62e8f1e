"""The bytes of an uploaded table as text, and which encoding was assumed.

A byte order mark or valid UTF-8 settles it. Else the encoding is the one whose letters make the best words: letters of
one language's alphabet in the single-byte encodings, everyday characters in the encodings of Chinese, Japanese, Korean.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import charset_normalizer

from task_worker.jobs.tables.remarks import Remark, TableRefused, counted

MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig", "UTF-8"),
    (b"\xff\xfe\x00\x00", "utf-32", "UTF-32"),
    (b"\x00\x00\xfe\xff", "utf-32", "UTF-32"),
    (b"\xff\xfe", "utf-16", "UTF-16"),
    (b"\xfe\xff", "utf-16", "UTF-16"),
)
FORMATS = (
    (b"PK\x03\x04", "a spreadsheet or another ZIP archive. Open it and save the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (XLS). Open it and save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "a gzip archive. Unpack it and send the CSV inside"),
    (b"BZh", "a bzip2 archive. Unpack it and send the CSV inside"),
    (b"\xfd7zXZ", "an xz archive. Unpack it and send the CSV inside"),
    (b"7z\xbc\xaf", "a 7-Zip archive. Unpack it and send the CSV inside"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive. Unpack it and send the CSV inside"),
    (b"%PDF", "a PDF. Send the table behind it as CSV"),
    (b"PAR1", "a Parquet file. Export it as CSV"),
    (b"SQLite format 3", "a SQLite database. Export the table as CSV"),
    (b"\x89PNG", "a picture. Send the table as CSV"),
    (b"\xff\xd8\xff", "a picture. Send the table as CSV"),
)
SAMPLE = 200_000
"""Bytes that are looked at to choose an encoding."""
CLOSE = 0.05
"""Difference of two scores under which the choice is a doubt."""
MOSTLY_UTF8 = 0.9
"""Share of the sequences behind ASCII that are valid before a file counts as UTF-8 with mistakes."""
PLAUSIBLE = 0.4
BINARY = 0.1
USUAL = frozenset({"Sc", "Pd", "Pi", "Pf", "Po", "Ps", "Pe", "Zs", "Cf", "Nd"})
"""Categories of what else stands in tables: currencies, dashes, quotation marks, spaces."""
SIGNS = "\xb0\xb1\xb2\xb3\xd7\xf7\xa7\xa9\xae\u2116\u2122\xba\xaa\xbd\xbc\xbe"
JOINING = "\u2019\xb7\xad\u200c\u200d"
"""What may stand inside a word."""

_Letter = tuple[str, bool]
"""A letter, and whether another stands before it in its word."""

ALPHABETS = {
    "western": ("äöüß", "éèêëàâçîïôùûüœæ", "ñáéíóúü", "ãõáâàçéêíóôú", "àèéìíòóù", "åäöæøé", "ëéèïöü"),
    "central": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîșțşţ", "äöüß"),
    "turkish": ("çğıöşüâîİ",),
    "baltic": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
}
"""Letters beside a to z, one string for each language; a file is expected to keep to one of them."""
FREQUENT = {
    "cyrillic": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёіїєґђјљњћџў",
    "greek": "αοιετσνηυρπκμλωδγχθφβξζψςάόίέήύώϊϋΐΰ",
    "hebrew": "יוהלאמרתבשנדםפחקעכןגצטסזךףץ",
    "arabic": "اليمنوتربةعدسفهكقحجشطصخضذزثظغأىئإءؤآپچژگ",
    "thai": "านรอกเงมยลวดทสตะปบคหแจพชขใไโผซถธศณฟษฉภญฐฮฎฏฆฌฒฑฬํ" + "ิีึืุูั็่้๊๋์ำๅๆฯ๙๘๗๖๕๔๓๒๑๐",
}
"""Letters of a script, the most frequent first."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    codec: str
    label: str
    script: str


ENCODINGS = (
    _Encoding("cp1252", "Windows-1252 (Western Europe)", "western"),
    _Encoding("mac_roman", "Mac Roman", "western"),
    _Encoding("cp850", "code page 850 (DOS, Western Europe)", "western"),
    _Encoding("cp1250", "Windows-1250 (Central Europe)", "central"),
    _Encoding("iso8859_2", "ISO 8859-2 (Central Europe)", "central"),
    _Encoding("cp1254", "Windows-1254 (Turkish)", "turkish"),
    _Encoding("cp1257", "Windows-1257 (Baltic)", "baltic"),
    _Encoding("cp1251", "Windows-1251 (Cyrillic)", "cyrillic"),
    _Encoding("koi8_u", "KOI8 (Cyrillic)", "cyrillic"),
    _Encoding("cp866", "code page 866 (DOS, Cyrillic)", "cyrillic"),
    _Encoding("mac_cyrillic", "Mac Cyrillic", "cyrillic"),
    _Encoding("cp1253", "Windows-1253 (Greek)", "greek"),
    _Encoding("iso8859_7", "ISO 8859-7 (Greek)", "greek"),
    _Encoding("cp1255", "Windows-1255 (Hebrew)", "hebrew"),
    _Encoding("cp1256", "Windows-1256 (Arabic)", "arabic"),
    _Encoding("cp874", "Windows-874 (Thai)", "thai"),
)
EAST_ASIAN = {
    "gb18030": "GBK (Chinese, simplified)",
    "big5": "Big5 (Chinese, traditional)",
    "cp932": "Shift-JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "cp949": "EUC-KR (Korean)",
}
FIRST_LEVEL = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "euc_jp": ("euc_jp", 0xB0, 0xCF),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}
"""Where the everyday characters of an encoding lie: by which codec, from which first byte to which."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file as text."""

    text: str
    encoding: str
    remarks: tuple[Remark, ...] = ()


def decode(raw: bytes) -> Decoded:
    """The text of a file, with what was assumed. Raises TableRefused for a file that is no text."""
    for first, what in FORMATS:
        if raw.startswith(first):
            raise TableRefused(f"The file is no CSV but {what}.")
    found = _marked(raw) or _utf16(raw) or _utf8(raw) or _guessed(raw)
    start = found.text[:SAMPLE]
    if sum(character < " " and character not in "\t\r\n" for character in start) > BINARY * len(start):
        raise TableRefused("The file is not text but binary data. Send a CSV: plain text with one line per record.")
    return _without_nul(found)


def _marked(raw: bytes) -> Decoded | None:
    for mark, codec, label in MARKS:
        if raw.startswith(mark):
            return _lenient(raw, codec, label)
    return None


def _lenient(raw: bytes, codec: str, label: str) -> Decoded:
    """Decode and say what could not be; UTF-8 itself is worth no remark."""
    text = raw.decode(codec, errors="replace")
    broken = text.count("\ufffd") - raw.count("\ufffd".encode())
    remarks = [] if label == "UTF-8" else [Remark(f"The text was read as {label}.")]
    if broken > 0:
        where = counted(broken, "place")
        remarks.append(Remark(f"{where} in the file are not valid {label}; they are shown as \ufffd.", is_doubt=True))
    return Decoded(text, label, tuple(remarks))


def _utf16(raw: bytes) -> Decoded | None:
    """UTF-16 without its mark: every line break and delimiter is a pair of bytes of which one is zero."""
    zeros = raw.count(0)
    if len(raw) % 2 or not zeros:
        return None
    even = raw[::2].count(0)
    codec = "utf-16-be" if even > zeros - even else "utf-16-le"
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError:
        return None
    if "\x00" in text or not set(text) & set("\r\n,;\t"):
        return None
    return Decoded(text, "UTF-16", (Remark("The text was read as UTF-16, though it has no byte order mark."),))


def _utf8(raw: bytes) -> Decoded | None:
    try:
        return Decoded(raw.decode(), "UTF-8")
    except UnicodeDecodeError:
        pass
    text = raw.decode(errors="replace")
    broken = text.count("\ufffd")
    valid = sum(1 for character in text if character > "\x7f") - broken
    return _lenient(raw, "utf-8", "UTF-8") if valid > MOSTLY_UTF8 * (valid + broken) else None


def _guessed(raw: bytes) -> Decoded:
    sample = raw[:SAMPLE].rsplit(b"\n", 1)[0] if len(raw) > SAMPLE else raw
    ranked = sorted(_scored(raw, sample), key=lambda scored: -scored[0])
    score, codec, label = ranked[0]
    text = raw.decode(codec, errors="replace")
    said = f"The text is not UTF-8; it was read as {label}."
    rival = next((other for other in ranked[1:] if _differ(sample, codec, other[1])), None)
    if score < PLAUSIBLE:
        return Decoded(text, label, (Remark(f"{said} Letters beside a to z may be wrong.", is_doubt=True),))
    if rival is not None and score - rival[0] < CLOSE:
        said = f"{said} {rival[2]} would fit as well: save the file as UTF-8 to be sure."
        return Decoded(text, label, (Remark(said, is_doubt=True),))
    return Decoded(text, label, (Remark(said),))


def _differ(sample: bytes, codec: str, other: str) -> bool:
    return sample.decode(codec, errors="replace") != sample.decode(other, errors="replace")


def _scored(raw: bytes, sample: bytes) -> Iterator[tuple[float, str, str]]:
    """Each encoding that can be with how well its letters fit, from 0 to 1; Windows-1252 always can."""
    yield 0.0, "cp1252", ENCODINGS[0].label
    for encoding in ENCODINGS:
        text = _strictly(sample, encoding.codec)
        if text is not None and _strictly(raw, encoding.codec) is not None:
            yield _fit(text, encoding.script), encoding.codec, encoding.label
            if encoding.codec == "cp1252" and "¤" in text:  # where ISO 8859-15 has the euro
                fit = _fit(text.replace("¤", "€"), encoding.script)
                yield fit + CLOSE, "iso8859_15", "ISO 8859-15 (Western Europe)"
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(EAST_ASIAN)).best()
    for codec, label in EAST_ASIAN.items():
        text = _strictly(sample, codec)
        if text is not None and _strictly(raw, codec) is not None:
            favoured = best is not None and best.encoding == codec
            yield _everyday(text, codec) + CLOSE * favoured, codec, label


def _strictly(raw: bytes, codec: str) -> str | None:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None


def _fit(text: str, script: str) -> float:
    """How well the characters behind ASCII fit one language of the script, from 0 to 1."""
    letters, other = _foreign(text)
    fits = other + _ranked(letters, FREQUENT[script]) if script in FREQUENT else other + _spelled(letters, script)
    return sum(fits) / len(fits) if fits else 0.0


def _ranked(letters: Sequence[_Letter], order: str) -> list[float]:
    """Each letter by its frequency; capitals inside words, as a wrong encoding makes them, count for less."""
    places = {letter: 1 - 0.8 * place / len(order) for place, letter in enumerate(order)}
    return [places.get(text.lower(), 0.0) * (0.9 if text.isupper() and inside else 1.0) for text, inside in letters]


def _spelled(letters: Sequence[_Letter], script: str) -> list[float]:
    """1 for each letter of the language of the script that has most of them."""
    fits = (
        [float(text.lower() in alphabet or text in alphabet) for text, _ in letters] for alphabet in ALPHABETS[script]
    )
    return max(fits, key=sum)


def _foreign(text: str) -> tuple[list[_Letter], list[float]]:
    """Letters behind ASCII that stand in words, and how plausible everything else is where it stands."""
    letters: list[_Letter] = []
    other: list[float] = []
    padded = f" {text} "
    for position, character in enumerate(text, 1):
        if character < "\x80":
            continue
        left, right = padded[position - 1], padded[position + 1]
        category = unicodedata.category(character)
        if not category.startswith(("L", "M")) or category == "Lm":
            is_odd = (category not in USUAL and character not in SIGNS) or (left.isalpha() and right.isalpha())
            other.append(0.0 if is_odd and character not in JOINING else 0.7)
        elif character.isupper() and left.islower():
            other.append(0.0)
        elif not left.isalpha() and not right.isalpha():
            other.append(0.5)
        else:
            letters.append((character, left.isalpha()))
    return letters, other


def _everyday(text: str, codec: str) -> float:
    foreign = [character for character in text if character > "\x7f"]
    return sum(_common(character, codec) for character in foreign) / len(foreign) if foreign else 0.0


def _common(character: str, codec: str) -> float:
    if "\u3041" <= character <= "\u30ff":
        return 1.0 if codec in ("cp932", "euc_jp") else 0.3
    if "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uff60":
        return 0.7
    level, first, last = FIRST_LEVEL[codec]
    try:
        lead = character.encode(level)[0]
    except UnicodeEncodeError:
        return 0.0
    return 1.0 if first <= lead <= last else 0.2


def _without_nul(found: Decoded) -> Decoded:
    """NUL can be stored nowhere, so it is shown as the sign for what cannot be shown."""
    count = found.text.count("\x00")
    if not count:
        return found
    said = f"{counted(count, 'NUL character')}, which no database stores, replaced by \ufffd."
    return Decoded(found.text.replace("\x00", "\ufffd"), found.encoding, (*found.remarks, Remark(said, is_doubt=True)))
