"""Numbers as people write them: pure functions on strings; what separates thousands is decided for a whole column."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

CURRENCY = (
    r"(?:[A-Z]{0,3}[$€£¥₹₽₺₩₪₫₴₦₱฿₡₲₵₸₼₾₿¢]|USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD|NZD|SEK|NOK|DKK|ISK|PLN|CZK|HUF"
    r"|RON|BGN|RUB|UAH|TRY|TL|ILS|KRW|SGD|HKD|TWD|THB|IDR|MYR|PHP|VND|ZAR|BRL|MXN|ARS|CLP|COP|PEN|EGP|NGN|KES|AED|SAR"
    r"|EURO?|Euros?|euros?|Rs\.?|Fr\.|SFr\.?|kr\.?|Kr\.?|zł|Kč|Ft|lei|лв\.?|руб\.?|р\.|грн\.?|元|円|원)"  # noqa: RUF001 - letters of the world
)
GROUPS = "\u0020\u00a0\u2009\u202f\u2007"
"""Spaces that separate thousands."""
APOSTROPHES = "'\u2019\u02bc\u00b4`"
MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\ufe63": "-", "\uff0d": "-", "\u2010": "-", "\u2011": "-"})
DRESSED = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[-+])?\s*(?P<currency>{CURRENCY})?\s*(?P<inner>[-+])?\s*"
    rf"(?P<core>[\d.,{GROUPS}{APOSTROPHES}]*\d(?:[.,](?!-))?(?:[eE][-+]?\d{{1,3}})?)"
    rf"(?:[.,]-{{1,2}})?\s*(?P<percent>[%‰])?\s*(?P<behind>{CURRENCY})?\s*(?P<trailing>[-+])?\s*(?P<close>\))?"
)
PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d+)?")
LONG = 15
"""Digits that a floating point number keeps."""
MISSING = frozenset(
    [
        "-",
        "--",
        "---",
        ".",
        "..",
        "?",
        "n/a",
        "#n/a",
        "n.a.",
        "na",
        "nan",
        "none",
        "null",
        "nil",
        "nul",
        "#null!",
        "#wert!",
        "#value!",
        "#div/0!",
        "#ref!",
        "#name?",
        "#zahl!",
        "#num!",
        "missing",
        "unknown",
        "unbekannt",
        "inconnu",
        "desconocido",
        "tbd",
        "tba",
        "k.a.",
        "k.a",
        "ka",
        "o.a.",
        "s.a.",
        "n.d.",
        "nd",
        "n.v.",
        "nv",
        "s/o",
        "s.o.",
        "\\n",
        "(null)",
        "<na>",
        "<null>",
        "(blank)",
        "(empty)",
        "(none)",
        "leer",
        "vide",
        "empty",
        "void",
        "undefined",
        "\u2013",
        "\u2014",
        "\u2212",
        "*",
        "x",
    ]
)
LONGEST_MISSING = max(map(len, MISSING))


@dataclass(frozen=True, slots=True)
class Convention:
    """What stands between thousands and before decimals; `grouping` is "" where nothing does."""

    decimal: str
    grouping: str


@dataclass(frozen=True, slots=True)
class Written:
    """A cell that may be a number: its digits as they stand, and what is around them."""

    core: str
    is_negative: bool
    currency: str
    percent: str


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A column of numbers: each text with its value, the rest, and what was assumed."""

    values: Mapping[str, float | int]
    left: tuple[str, ...]
    convention: Convention
    is_certain: bool
    """False when the very same cells could mean other numbers under the other convention."""
    currencies: tuple[str, ...] = ()
    percents: int = 0
    brackets: bool = False


def is_missing(text: str) -> bool:
    """Whether a cell is one of the usual words for "there is no value"."""
    if not text:
        return True
    return len(text) <= LONGEST_MISSING and not text[0].isdigit() and text.casefold() in MISSING


def written(text: str) -> Written | None:
    """A cell without its sign, brackets, currency and percent sign; None when it is no number."""
    if PLAIN.fullmatch(text):
        return Written(text.lstrip("-"), text.startswith("-"), "", "")
    folded = unicodedata.normalize("NFKC", text).translate(MINUS).strip().removeprefix("'")
    found = DRESSED.fullmatch(folded)
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    signs = [sign for sign in (found["sign"], found["inner"], found["trailing"]) if sign]
    if len(signs) + bool(found["open"]) > 1 or (found["currency"] and found["behind"]):
        return None
    is_negative = bool(found["open"]) or signs == ["-"]
    return Written(
        found["core"].strip(), is_negative, found["currency"] or found["behind"] or "", found["percent"] or ""
    )


@cache
def _pattern(decimal: str, grouping: str) -> re.Pattern[str]:
    point = re.escape(decimal)
    exponent = r"(?:[eE][-+]?\d{1,3})?"
    if not grouping:
        return re.compile(rf"\d+(?:{point}\d*)?{exponent}|{point}\d+{exponent}")
    group = f"[{re.escape(GROUPS if grouping == ' ' else APOSTROPHES if grouping == APOSTROPHES[0] else grouping)}]"
    lakhs = rf"|[1-9]\d?(?:{group}\d\d)+{group}\d{{3}}" if grouping == "," else ""
    return re.compile(rf"(?:[1-9]\d{{0,2}}(?:{group}\d{{3}})+{lakhs})(?:{point}\d*)?")


ALIKE = str.maketrans("23456789", "11111111")
SEPARATING = {
    decimal: str.maketrans("", "", GROUPS + APOSTROPHES + other) for decimal, other in ((".", ","), (",", "."))
}
GROUPINGS = {".": ("", ",", " ", "'"), ",": ("", ".", " ", "'")}


def groupings(core: str, decimal: str) -> Sequence[str]:
    """What may separate thousands in these digits when `decimal` stands before decimals."""
    return _groupings(core[:1] == "0", core.translate(ALIKE), decimal)


@lru_cache(maxsize=4_096)
def _groupings(starts_with_zero: bool, shape: str, decimal: str) -> Sequence[str]:  # noqa: FBT001 - a part of the key
    """The same for every number of a shape, which a file has few of."""
    core = "0" + shape[1:] if starts_with_zero else shape
    return tuple(grouping for grouping in GROUPINGS[decimal] if _pattern(decimal, grouping).fullmatch(core))


def value_of(text: Written, decimal: str) -> float | int:
    """The number under a convention that fits."""
    digits = text.core
    if not digits.isdigit():
        digits = digits.translate(SEPARATING[decimal]).replace(decimal, ".")
    number = int(digits) if digits.isdigit() else float(digits)
    return -number if text.is_negative else number


def read_numbers(cells: Mapping[str, int], likely: Convention, *, is_settled: bool = False) -> NumberColumn | None:
    """A column of numbers, from its different texts and how often each stands there; None when none is a number.

    `likely` decides where the column itself does not; `is_settled` says that other columns of the file are certain.
    """
    found = {text: number for text in cells if not is_missing(text) and (number := written(text)) is not None}
    points = {text: groupings(number.core, ".") for text, number in found.items()}
    commas = {text: groupings(number.core, ",") for text, number in found.items()}
    fitting = {".": _fits(cells, points), ",": _fits(cells, commas)}
    if not max(fitting.values()):
        return None
    decimal, is_certain = _decimal(found, points, commas, fitting, likely, is_settled=is_settled)
    read = points if decimal == "." else commas
    values = {text: value_of(number, decimal) for text, number in found.items() if read[text]}
    taken = {text: found[text] for text, value in values.items() if math.isfinite(value)}
    left = tuple(text for text in cells if text not in taken and not is_missing(text))
    grouping = Counter(group for text in taken for group in read[text] if group)
    return NumberColumn(
        values={text: values[text] for text in taken},
        left=left,
        convention=Convention(decimal, grouping.most_common(1)[0][0] if grouping else ""),
        is_certain=is_certain,
        currencies=tuple(dict.fromkeys(number.currency for number in taken.values() if number.currency)),
        percents=sum(cells[text] for text, number in taken.items() if number.percent),
        brackets=any(text.lstrip().startswith("(") for text in taken),
    )


def _fits(cells: Mapping[str, int], readings: Mapping[str, Sequence[str]]) -> int:
    return sum(cells[text] for text, groups in readings.items() if groups)


def _decimal(
    found: Mapping[str, Written],
    points: Mapping[str, Sequence[str]],
    commas: Mapping[str, Sequence[str]],
    fitting: Mapping[str, int],
    likely: Convention,
    *,
    is_settled: bool,
) -> tuple[str, bool]:
    """What stands before decimals in this column, and whether that is certain."""
    if fitting["."] != fitting[","]:
        return (".", True) if fitting["."] > fitting[","] else (",", True)
    unsure = [
        text
        for text, number in found.items()
        if points[text] and commas[text] and value_of(number, ".") != value_of(number, ",")
    ]
    if not unsure:
        return likely.decimal, True
    separator = "," if any("," in found[text].core for text in unsure) else "."
    other = "." if separator == "," else ","
    if _has_ungrouped(found.values()):
        return separator, False
    if is_settled:
        return likely.decimal, True
    if separator == ",":
        return (",", False) if likely.decimal == "," else (other, False)
    return (other, False) if likely.decimal == "," else (separator, False)


def _has_ungrouped(numbers: Iterable[Written]) -> bool:
    """Whether a thousand or more stands without a separator: then the others are hardly grouped."""
    return any(number.core.isdigit() and len(number.core) > 3 for number in numbers)  # noqa: PLR2004 - thousands


def has_leading_zeros(texts: Iterable[str]) -> bool:
    """Whether some of these are digits with a zero in front, as in postcodes and article numbers."""
    return any(len(text) > 1 and text[0] == "0" and text.isdigit() for text in texts)


def is_too_long(texts: Iterable[str]) -> bool:
    """Whether some of these have more digits than a number keeps, as in card and account numbers."""
    return any(len(text) > LONG and text.isdigit() for text in texts)
