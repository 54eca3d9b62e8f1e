"""Periods as people write them: "Q4 2024", "last month", "last 7 days", "March 2025", "from January to March 2025".

Everything is UTC; a period includes its start and not its end. Weeks begin on Monday.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4}
FALLBACK = timedelta(days=30)
MAX_COUNT = 3_660
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on and before `until`; `phrase` is how the text named it, None when it named none.

    `months` is set for calendar periods: the period before is that many calendar months earlier; `step` for parts of a
    week or day, which are compared with the same part of the one before.
    """

    since: datetime
    until: datetime
    label: str
    phrase: str | None = None
    months: int | None = None
    step: timedelta | None = None

    def before(self) -> "Period":
        """The period of the same kind just before: Q3 for Q4, the 7 days before for the last 7 days."""
        if self.months is None:
            step = self.step or self.until - self.since
            since, until = self.since - step, self.until - step
        else:
            since, until = shift(self.since, -self.months), min(shift(self.until, -self.months), self.since)
        return Period(since, until, f"{day(since)} to {day(until - timedelta(microseconds=1))}")

    def describe(self) -> str:
        """The period for a report: what was asked for and which days that is."""
        days = f"{day(self.since)} to {day(self.until - timedelta(microseconds=1))} (UTC)"
        if self.phrase is None:
            return f"{self.label}, {days}; the description names no period"
        return f"{self.label}, {days}"


def day(moment: datetime) -> str:
    """A date for people."""
    return moment.strftime("%Y-%m-%d")


def shift(moment: datetime, months: int) -> datetime:
    """The same day and time some months away; the last day of the month where there is no such day."""
    index = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(index, 12)
    first = moment.replace(day=1, year=year, month=month + 1)
    return first + timedelta(days=min(moment.day, _days_in(first)) - 1)


def _days_in(first: datetime) -> int:
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return (following - first).days


@dataclass(frozen=True, slots=True)
class _Atom:
    """A period found at a place in the text; `floating` when it has no year of its own."""

    period: Period
    start: int
    end: int
    floating: bool = False


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _months(year: int, first: int, count: int, label: str) -> Period:
    since = datetime(year, first, 1, tzinfo=UTC)
    return Period(since, shift(since, count), label, months=count)


def _latest(now: datetime, first: int, count: int, label: Callable[[int], str]) -> Period:
    """The latest one that has begun, for names without a year."""
    year = now.year if first <= now.month else now.year - 1
    return _months(year, first, count, label(year))


def _quarter(match: re.Match[str], now: datetime) -> Period:
    groups = match.groupdict()
    number = int(groups["q"]) if groups.get("q") else ORDINALS[groups["ordinal"]]
    year = groups.get("year")
    first = 3 * number - 2
    if year is None:
        return _latest(now, first, 3, lambda found: f"Q{number} {found}")
    return _months(int(year), first, 3, f"Q{number} {year}")


def _half(match: re.Match[str], now: datetime) -> Period:
    groups = match.groupdict()
    number = int(groups["h"]) if groups.get("h") else ORDINALS[groups["ordinal"]]
    year = groups.get("year")
    first = 6 * number - 5
    if year is None:
        return _latest(now, first, 6, lambda found: f"H{number} {found}")
    return _months(int(year), first, 6, f"H{number} {year}")


def _month_number(name: str) -> int:
    return next(i for i, month in enumerate(MONTHS, 1) if month.startswith(name[:3]))


def _month(match: re.Match[str], now: datetime) -> Period:
    number = _month_number(match["month"])
    name = MONTHS[number - 1].capitalize()
    year = match.groupdict().get("year")
    if year is None:
        return _latest(now, number, 1, lambda found: f"{name} {found}")
    return _months(int(year), number, 1, f"{name} {year}")


def _iso_month(match: re.Match[str], _now: datetime) -> Period | None:
    number = int(match["m"])
    if not 1 <= number <= len(MONTHS):
        return None
    return _months(int(match["year"]), number, 1, f"{MONTHS[number - 1].capitalize()} {match['year']}")


def _date(match: re.Match[str], _now: datetime) -> Period | None:
    groups = match.groupdict()
    month = int(groups["m"]) if groups.get("m") else _month_number(groups["month"])
    try:
        since = datetime(int(match["year"]), month, int(match["d"]), tzinfo=UTC)
    except ValueError:
        return None
    return Period(since, since + DAY, day(since))


def _year(match: re.Match[str], _now: datetime) -> Period:
    return _months(int(match["year"]), 1, 12, match["year"])


def _yesterday(match: re.Match[str], now: datetime) -> Period:
    back = 2 if match["before"] else 1
    since = _midnight(now) - back * DAY
    return Period(since, since + DAY, "the day before yesterday" if back > 1 else "yesterday")


def _today(_match: re.Match[str], now: datetime) -> Period:
    return Period(_midnight(now), now, "today so far", step=DAY)


def _rolling(match: re.Match[str], now: datetime) -> Period | None:
    """The last N units, up to now."""
    text, unit = match["n"], match["unit"]
    count = NUMBERS[text] if text in NUMBERS else int(text)
    if not 1 <= count <= MAX_COUNT:
        return None
    label = f"the last {count} {unit}{'s' if count > 1 else ''}"
    in_months = {"month": 1, "quarter": 3, "year": 12}.get(unit)
    if in_months is not None:
        if count * in_months > MAX_COUNT // 30:
            return None
        return Period(shift(now, -count * in_months), now, label, months=count * in_months)
    length = {"hour": timedelta(hours=1), "day": DAY, "week": 7 * DAY}[unit]
    return Period(now - count * length, now, label)


def _calendar(match: re.Match[str], now: datetime) -> Period:
    """This or last week, month, quarter or year."""
    unit = match["unit"]
    is_last = match["which"] in ("last", "previous", "past")
    today = _midnight(now)
    if unit in ("week", "day"):
        start = today - timedelta(days=today.weekday()) if unit == "week" else today
        step = (7 if unit == "week" else 1) * DAY
        if is_last:
            return Period(start - step, start, f"last {unit}", step=step)
        return Period(start, now, f"this {unit} so far", step=step)
    count = {"month": 1, "quarter": 3, "year": 12}[unit]
    start = today.replace(day=1, month=(today.month - 1) // count * count + 1)
    if is_last:
        return Period(shift(start, -count), start, f"last {unit}", months=count)
    return Period(start, now, f"this {unit} so far", months=count)


_YEAR = r"(?P<year>20\d\d)"
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_COUNT = rf"(?P<n>\d{{1,4}}|{'|'.join(NUMBERS)})"
_ORDINAL = r"(?P<ordinal>first|second|third|fourth|1st|2nd|3rd|4th)"
_HALF_ORDINAL = r"(?P<ordinal>first|second|1st|2nd)"
_LAST = r"(?:the\s+)?(?:last|past|previous|recent)"

_Build = Callable[[re.Match[str], datetime], Period | None]
PATTERNS: tuple[tuple[re.Pattern[str], _Build, bool], ...] = tuple(
    (re.compile(rf"\b{pattern}\b"), build, floating)
    for pattern, build, floating in (
        (rf"{_YEAR}-(?P<m>\d\d)-(?P<d>\d\d)", _date, False),
        (rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH},?\s+{_YEAR}", _date, False),
        (rf"{_MONTH}\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+{_YEAR}", _date, False),
        (rf"q(?P<q>[1-4])[\s/-]*(?:of\s+)?{_YEAR}", _quarter, False),
        (rf"{_YEAR}[\s/-]*q(?P<q>[1-4])", _quarter, False),
        (rf"{_ORDINAL}\s+quarter\s+(?:of\s+|in\s+)?{_YEAR}", _quarter, False),
        (rf"h(?P<h>[12])[\s/-]*(?:of\s+)?{_YEAR}", _half, False),
        (rf"{_YEAR}[\s/-]*h(?P<h>[12])", _half, False),
        (rf"{_HALF_ORDINAL}\s+half\s+(?:of\s+)?{_YEAR}", _half, False),
        (rf"{_MONTH}\.?,?\s+(?:of\s+)?{_YEAR}", _month, False),
        (rf"{_YEAR}[-/](?P<m>\d\d)", _iso_month, False),
        (rf"{_LAST}\s+{_COUNT}\s+(?P<unit>hour|day|week|month|quarter|year)s?", _rolling, False),
        (r"(?P<which>last|past|previous|this|current)\s+(?P<unit>day|week|month|quarter|year)", _calendar, False),
        (r"(?P<before>(?:the\s+)?day\s+before\s+)?yesterday", _yesterday, False),
        (r"today", _today, False),
        (rf"{_ORDINAL}\s+quarter", _quarter, True),
        (r"q(?P<q>[1-4])", _quarter, True),
        (r"h(?P<h>[12])", _half, True),
        (rf"{_MONTH}(?=\s*(?:to|until|till|through|-)\s*(?:{'|'.join(name[:3] for name in MONTHS)}))", _month, True),
        (rf"(?:in|during|for|of|from|since|until|to|between|and|through|last)\s+{_MONTH}", _month, True),
        (rf"{_YEAR}", _year, False),
    )
)
RANGE = re.compile(r"\s*(?:to|until|till|through|up\s+to|-|\u2013|\u2014|\.\.)\s*")
AND = re.compile(r"\s*(?:and|&)\s*")
BETWEEN = re.compile(r"\b(?:between)\s+$")
SINCE = re.compile(r"\b(?:since|starting|beginning)\s+(?:from\s+|in\s+|on\s+)?$")


def parse_period(text: str, now: datetime) -> Period:
    """The first period that the text names, else the last 30 days. `now` has a time zone; the result is in UTC."""
    now = now.astimezone(UTC)
    lowered = " ".join(text.lower().split())
    atoms = _atoms(lowered, now)
    if not atoms:
        return Period(now - FALLBACK, now, "the last 30 days")
    found = _range(lowered, atoms, now) or _since(lowered, atoms[0], now)
    if found is not None:
        return found
    first = atoms[0]
    return replace(first.period, phrase=lowered[first.start : first.end])


def _atoms(text: str, now: datetime) -> list[_Atom]:
    """Every period in the text, in order and without overlap; where two begin together the earlier pattern wins."""
    atoms: list[_Atom] = []
    taken: list[tuple[int, int]] = []
    for pattern, build, floating in PATTERNS:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            period = _built(build, match, now)
            if period is None:
                continue
            start = match.start("month") if floating and "month" in pattern.groupindex else match.start()
            atoms.append(_Atom(period, start, match.end(), floating))
            taken.append((match.start(), match.end()))
    return sorted(atoms, key=lambda atom: atom.start)


def _built(build: _Build, match: re.Match[str], now: datetime) -> Period | None:
    try:
        return build(match, now)
    except (ValueError, OverflowError):  # a date outside the calendar, such as two thousand years ago
        return None


def _range(text: str, atoms: list[_Atom], now: datetime) -> Period | None:
    """The first two periods joined by "to", or by "and" after "between"."""
    for left, right in pairwise(atoms):
        joint = text[left.end : right.start]
        is_range = RANGE.fullmatch(joint) or (AND.fullmatch(joint) and BETWEEN.search(text[: left.start]))
        if not is_range:
            continue
        since, until = _in_one_year(left, right, now)
        if since >= until:
            return None
        last = day(until - timedelta(microseconds=1))
        return Period(
            since, until, f"{day(since)} to {last}", text[left.start : right.end], _whole_months(since, until)
        )
    return None


def _whole_months(since: datetime, until: datetime) -> int | None:
    """How many calendar months this is, when it is whole ones."""
    months = (until.year - since.year) * 12 + until.month - since.month
    return months if since.day == 1 and shift(since, months) == until else None


def _in_one_year(left: _Atom, right: _Atom, now: datetime) -> tuple[datetime, datetime]:
    """The ends of a range; a month or quarter without a year takes the year of the other end."""
    since, until = left.period.since, right.period.until
    if left.floating and not right.floating:
        since = since.replace(year=right.period.since.year)
        if since > right.period.since:
            since = since.replace(year=since.year - 1)
    return since, min(until, max(now, since))


def _since(text: str, atom: _Atom, now: datetime) -> Period | None:
    if not SINCE.search(text[: atom.start]) or atom.period.since >= now:
        return None
    since = atom.period.since
    return Period(since, now, f"since {day(since)}", f"since {text[atom.start : atom.end]}")
