"""Dates as people write them: pure functions on strings; the order of day and month is decided for a whole column."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

Grain = Literal["day", "week", "month", "quarter", "year"]
Order = Literal["day first", "month first", "year first"]
ORDERS: tuple[Order, ...] = ("day first", "month first", "year first")
GRAINS: tuple[Grain, ...] = ("day", "week", "month", "quarter", "year")
EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a calendar day; spreadsheets count from it
TELLING = "other orders are no dates"
CENTURY = 69
"""Two-digit years from here on belong to the twentieth century, as everywhere in POSIX."""

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar jänner jän janvier janv enero ene gennaio gen janeiro januari styczeń stycznia sty",
            "february feb februar février févr fév febrero febbraio fevereiro fev februari luty lutego lut",
            "march mar märz mär mrz mars marzo março maart mrt marzec marca",
            "april apr avril avr abril abr aprile kwiecień kwietnia kwi",
            "may mai mayo maggio mag maio mei maj maja",
            "june jun juni juin junio giugno giu junho czerwiec czerwca cze",
            "july jul juli juillet juil julio luglio lug julho lipiec lipca lip",
            "august aug août aoû aout agosto ago augustus augusti sierpień sierpnia sie",
            "september sep sept septembre septiembre setiembre settembre set setembro wrzesień września wrz",
            "october oct oktober okt octobre octubre ottobre ott outubro out październik października paź",
            "november nov novembre noviembre novembro listopad listopada lis",
            "december dec dezember dez décembre déc diciembre dic dicembre dezembro desember grudzień grudnia gru",
        ),
        1,
    )
    for name in names.split()
}
DAYS = (
    r"(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim|mié|jue|vie|sáb|dom)"
    r"(?:day|sday|nesday|rsday|urday|tag|ntag|enstag|ttwoch|nnerstag|eitag|mstag|nntag|nerstag|di|credi|edi|dredi"
    r"|anche|es|tes|rcoles|coles|ves|rnes|nes|ado|ingo|s)?\.?,?\s+"
)
NAME = r"(?P<month>[^\W\d_]+)\.?"
YEAR = r"(?P<year>\d{4}|'?\d\d)"
LONG_YEAR = r"(?P<year>(?:19|20|21|18)\d\d)"
TIME = (
    r"(?:(?:T|,?\s+(?:at\s+|um\s+)?)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?:uhr)?\s*(?P<zone>z|utc|gmt|[+-]\d\d:?\d\d|[+-]\d\d)?)?"
)
ORDINAL = r"(?:st|nd|rd|th|er|\.|º|°)?"

_Fields = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Written:
    """A cell that is a date: the moment, or one for each order in which its three numbers may stand."""

    moment: datetime | None
    grain: Grain
    readings: Mapping[Order, datetime] = field(default_factory=dict)
    zone: bool = False
    short_year: bool = False


@dataclass(frozen=True, slots=True)
class DateColumn:
    """A column of dates: each text with its moment in UTC, the rest, and what was assumed."""

    values: Mapping[str, datetime]
    left: tuple[str, ...]
    grain: Grain
    order: Order | None = None
    reason: str = ""
    is_certain: bool = True
    is_telling: bool = False
    """Whether the column itself shows that no other order can be."""
    zones: bool = False
    short_years: bool = False


def _number(text: str | None) -> int:
    return int(text) if text else 0


def _year(text: str | None) -> int:
    digits = (text or "").lstrip("'")
    if len(digits) > 2:  # noqa: PLR2004 - written in full
        return int(digits)
    return int(digits) + (1900 if int(digits) >= CENTURY else 2000)


def _is_short(text: str | None) -> bool:
    return len((text or "").lstrip("'")) == 2  # noqa: PLR2004 - digits


def _moment(fields: _Fields, year: int, month: int, day: int) -> datetime | None:
    """The moment in UTC; None for one that the calendar lacks."""
    hour = _number(fields.get("hour"))
    half = (fields.get("half") or "").lower()
    if half:
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    part = (fields.get("part") or "").ljust(6, "0")[:6]
    try:
        found = datetime(  # noqa: DTZ001 - as it is written; the offset is taken off below
            year, month, day, hour, _number(fields.get("minute")), _number(fields.get("second")), int(part or 0)
        )
        return found - _offset(fields.get("zone"))
    except (ValueError, OverflowError):
        return None


def _offset(zone: str | None) -> timedelta:
    digits = re.sub(r"\D", "", zone or "")
    if not digits or zone is None:
        return timedelta(0)
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -offset if zone.startswith("-") else offset


def _dated(fields: _Fields, month: int | None, day: int, grain: Grain = "day") -> Written | None:
    if month is None:
        return None
    moment = _moment(fields, _year(fields["year"]), month, day)
    if moment is None:
        return None
    return Written(moment, grain, zone=bool(fields.get("zone")), short_year=_is_short(fields["year"]))


def _year_first(fields: _Fields) -> Written | None:
    return _dated(fields, _number(fields["m"]), _number(fields["d"]))


def _numeric(fields: _Fields) -> Written | None:
    """Three numbers with the year last or, in two digits, perhaps first: the moment for each order that can be."""
    first, second, last = _number(fields["a"]), _number(fields["b"]), fields["year"]
    short = _is_short(last)
    orders: dict[Order, tuple[int, int, int]] = {
        "day first": (_year(last), second, first),
        "month first": (_year(last), first, second),
    }
    if short and _is_short(fields["a"]):
        orders["year first"] = (_year(fields["a"]), second, _number((last or "").lstrip("'")))
    found = {order: _moment(fields, *numbers) for order, numbers in orders.items()}
    readings = {order: moment for order, moment in found.items() if moment is not None}
    return Written(None, "day", readings, zone=bool(fields.get("zone")), short_year=short) if readings else None


def _named(fields: _Fields) -> Written | None:
    return _dated(fields, MONTHS.get((fields["month"] or "").lower()), _number(fields.get("d")) or 1)


def _named_month(fields: _Fields) -> Written | None:
    return _dated(fields, MONTHS.get((fields["month"] or "").lower()), 1, "month")


def _numbered_month(fields: _Fields) -> Written | None:
    return _dated(fields, _number(fields["m"]), 1, "month")


def _quarter(fields: _Fields) -> Written | None:
    return _dated(fields, 3 * _number(fields["q"]) - 2, 1, "quarter")


def _half_year(fields: _Fields) -> Written | None:
    return _dated(fields, 6 * _number(fields["h"]) - 5, 1, "quarter")


def _week(fields: _Fields) -> Written | None:
    weekday = _number(fields.get("weekday")) or 1
    try:
        moment = datetime.fromisocalendar(_year(fields["year"]), _number(fields["w"]), weekday)
    except ValueError:
        return None
    return Written(moment, "day" if fields.get("weekday") else "week")


PATTERNS: tuple[tuple[re.Pattern[str], Callable[[_Fields], Written | None]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), build)
    for pattern, build in (
        (rf"(?P<year>\d{{4}})(?P<s>[-/.])(?P<m>\d{{1,2}})(?P=s)(?P<d>\d{{1,2}}){TIME}", _year_first),
        (
            r"(?P<year>\d{4})(?P<m>\d\d)(?P<d>\d\d)T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?(?P<zone>z)?",
            _year_first,
        ),
        (rf"(?:{DAYS})?(?P<a>\d{{1,2}})(?P<s>[-/.])\s?(?P<b>\d{{1,2}})(?P=s)\s?{YEAR}{TIME}", _numeric),
        (
            rf"(?:{DAYS})?(?P<d>\d{{1,2}}){ORDINAL}[\s-]*(?:de\s+|of\s+|d')?{NAME}[\s,-]*(?:de\s+|del\s+)?{YEAR}{TIME}",
            _named,
        ),
        (rf"(?:{DAYS})?{NAME}[\s-]*(?P<d>\d{{1,2}}){ORDINAL}(?:,\s*|\s+|-){YEAR}{TIME}", _named),
        (rf"(?P<year>\d{{4}})[\s-]{NAME}[\s-](?P<d>\d{{1,2}}){TIME}", _named),
        (rf"{NAME}[\s,/-]*(?:de\s+|of\s+)?(?P<year>\d{{4}}|(?<=[-\s/])'?\d\d|'\d\d)", _named_month),
        (rf"(?P<year>\d{{4}})[\s-]{NAME}", _named_month),
        (r"(?P<year>(?:19|20|21|18)\d\d)[-/.](?P<m>\d{1,2})", _numbered_month),
        (rf"(?P<m>\d{{1,2}})[-/.]{LONG_YEAR}", _numbered_month),
        (r"(?P<year>\d{4})M(?P<m>\d\d)", _numbered_month),
        (rf"{LONG_YEAR}[\s/-]*[qt](?P<q>[1-4])", _quarter),
        (r"[qt](?P<q>[1-4])[\s/'-]*(?P<year>(?:19|20|21|18)\d\d|\d\d)", _quarter),
        (r"(?P<q>[1-4])[qt][\s/-]*(?P<year>(?:19|20|21|18)\d\d|\d\d)", _quarter),
        (
            rf"(?P<q>[1-4])\.?\s*(?:st|nd|rd|th|er|e)?\s*(?:quartal|quarter|trimestre|trim\.?)\s*(?:of\s+|de\s+)?{LONG_YEAR}",
            _quarter,
        ),
        (rf"(?:{LONG_YEAR})[\s/-]*[hs](?P<h>[12])", _half_year),
        (rf"[h](?P<h>[12])[\s/-]*{LONG_YEAR}", _half_year),
        (rf"{LONG_YEAR}-?W(?P<w>\d\d)(?:-?(?P<weekday>[1-7]))?", _week),
        (rf"{LONG_YEAR}[\s/-]*(?:kw|wk|w|cw)\s*(?P<w>\d{{1,2}})", _week),
        (rf"(?:kw|wk|w|cw|week|woche|semaine|semana|sem\.?)\s*(?P<w>\d{{1,2}})[\s,/-]*(?:of\s+)?{LONG_YEAR}", _week),
        (rf"(?P<year>\d{{4}})\s?[年년]\s?(?P<m>\d{{1,2}})\s?[月월]\s?(?P<d>\d{{1,2}})\s?[日일]{TIME}", _year_first),
        (r"(?P<year>\d{4})\s?[年년]\s?(?P<m>\d{1,2})\s?[月월]", _numbered_month),
    )
)


def written(text: str) -> Written | None:
    """What a cell says as a date; None when it is none."""
    if not any(character.isdigit() for character in text):
        return None
    folded = unicodedata.normalize("NFKC", text).replace("\u2013", "-").replace("\u2212", "-").strip()
    for pattern, build in PATTERNS:
        match = pattern.fullmatch(folded)
        if match is not None:
            found = build(match.groupdict())
            if found is not None:
                return found
    return None


def read_dates(cells: Sequence[str], likely: Order, *, is_settled: bool = False) -> DateColumn | None:
    """A column of dates, from its cells that are not missing, in the order of the file; None when none is a date.

    `likely` is the order of day and month where the column itself does not tell; `is_settled` says that it was found in
    other columns.
    """
    distinct = dict.fromkeys(cells)
    found = {text: date for text in distinct if (date := written(text)) is not None}
    if not found:
        return None
    numeric = {text: date.readings for text, date in found.items() if date.readings}
    order, reason, is_certain = _order(cells, numeric, likely, is_settled=is_settled)
    values = {
        text: moment
        for text, date in found.items()
        if (moment := date.readings.get(order) if order and date.readings else date.moment) is not None
    }
    taken = [found[text] for text in values]
    return DateColumn(
        values=values,
        left=tuple(text for text in distinct if text not in values),
        grain=max((date.grain for date in taken), key=GRAINS.index, default="day"),
        order=order,
        reason=reason,
        is_certain=is_certain,
        is_telling=is_certain and reason == TELLING,
        zones=any(date.zone for date in taken),
        short_years=any(date.short_year for date in taken),
    )


_Readings = Mapping[str, Mapping[Order, datetime]]


def _order(
    cells: Sequence[str], numeric: _Readings, likely: Order, *, is_settled: bool
) -> tuple[Order | None, str, bool]:
    """In which order day, month and year stand in dates of three numbers, why, and whether that is certain."""
    if not numeric:
        return None, "", True
    times = Counter(cell for cell in cells if cell in numeric)
    counts = {order: sum(times[text] for text, found in numeric.items() if order in found) for order in ORDERS}
    best = [order for order in ORDERS if counts[order] == max(counts.values())]
    if len(best) == 1:
        return best[0], TELLING, counts[best[0]] == times.total()
    if all(len({readings.get(order) for order in best}) == 1 for readings in numeric.values()):
        return likely if likely in best else best[0], "", True
    if is_settled and likely in best:
        return likely, "as in another column of the file", True
    moments = {
        order: [numeric[cell][order] for cell in cells if cell in numeric and order in numeric[cell]] for order in best
    }
    return _likelier(moments, numeric, likely if likely in best else best[0])


def _likelier(
    moments: Mapping[Order, Sequence[datetime]], texts: Iterable[str], likely: Order
) -> tuple[Order, str, bool]:
    """The order by which the rows are sorted, else the one by which the dates lie closer together."""
    in_order = [order for order, found in moments.items() if is_sorted(found)]
    if len(in_order) == 1:
        return in_order[0], "the rows are sorted that way", False
    spans = {order: max(found) - min(found) for order, found in moments.items()}
    nearest, next_nearest = sorted(spans, key=lambda order: spans[order])[:2]
    if 2 * spans[nearest] < spans[next_nearest]:
        return nearest, "the dates lie closer together that way", False
    if all("." in text for text in texts) and "day first" in moments:
        return "day first", "that is usual with dots", False
    return likely, "that is usual where numbers are written like those of this file", False


def is_sorted(moments: Sequence[datetime]) -> bool:
    """Whether moments rise or fall all the way and are not all the same."""
    return len(set(moments)) > 1 and (
        all(a <= b for a, b in pairwise(moments)) or all(a >= b for a, b in pairwise(moments))
    )


def read_compact(cells: Iterable[str]) -> Mapping[str, datetime] | None:
    """Dates of eight digits (20240131) when every one of these is one."""
    found = {text: _compact(text) for text in cells}
    moments = {text: moment for text, moment in found.items() if moment is not None}
    return moments if moments and len(moments) == len(found) else None


def _compact(text: str) -> datetime | None:
    if not re.fullmatch(r"(?:19|20)\d{6}", text):
        return None
    try:
        return datetime(int(text[:4]), int(text[4:6]), int(text[6:]))  # noqa: DTZ001 - a calendar day
    except ValueError:
        return None


def read_years(cells: Iterable[str]) -> Mapping[str, datetime] | None:
    """Years when every one of these is one."""
    texts = list(cells)
    if not texts or not all(re.fullmatch(r"(?:18|19|20|21)\d\d", text) for text in texts):
        return None
    return {text: datetime(int(text), 1, 1) for text in texts}  # noqa: DTZ001 - a calendar day


def read_serials(cells: Iterable[str]) -> Mapping[str, datetime] | None:
    """The days that spreadsheets store (45292 is 2024-01-01) when every one of these may be one."""
    texts = list(cells)
    if not texts or not all(re.fullmatch(r"[2-6]\d{4}(?:\.\d+)?", text) for text in texts):
        return None
    return {text: EPOCH + timedelta(days=float(text)) for text in texts}


def read_seconds(cells: Iterable[str]) -> Mapping[str, datetime] | None:
    """Seconds or milliseconds since 1970 when every one of these may be that."""
    texts = list(cells)
    if not texts or not all(re.fullmatch(r"1\d{9}|1\d{12}", text) for text in texts):
        return None
    return {
        text: datetime.fromtimestamp(int(text) / (1 if len(text) == 10 else 1000), UTC).replace(tzinfo=None)  # noqa: PLR2004 - digits of seconds
        for text in texts
    }
