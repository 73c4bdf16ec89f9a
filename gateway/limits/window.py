"""Windows of budgets: periods of a time zone from a minute to a year, each with name and edges."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo

import msgspec

from gateway.core.call import WindowKind

_CLOCK_SECONDS: dict[WindowKind, int] = {"minute": 60, "hour": 3_600}
"""The windows that a clock shows, and their seconds."""
_GRACE_SECONDS = 2 * 86_400.0
"""Seconds after the end of a window in UTC: longer than any zone is behind, and than a call
runs."""
_MINUTE_GRACE_SECONDS = 3_600.0
"""Seconds after the end of a minute: two days of minutes would be thousands of counters."""
_QUARTER_MONTHS = 3
_NAME_PATTERNS: tuple[tuple[WindowKind, str, str], ...] = (
    ("minute", r"(\d{4}-\d\d-\d\dT\d\d:\d\d[+-]\d\d:\d+)", r"\1"),
    ("hour", r"(\d{4}-\d\d-\d\dT\d\d)([+-]\d\d:\d+)", r"\1:00\2"),
    ("day", r"(\d{4}-\d\d-\d\d)", r"\1"),
    ("week", r"(\d{4}-W\d\d)", r"\1-1"),
    ("month", r"(\d{4}-\d\d)", r"\1-01"),
    ("year", r"(\d{4})", r"\1-01-01"),
)
"""Patterns of names, and how to write the start of the window as a time; a quarter has none."""


class Window(msgspec.Struct, frozen=True):
    """A period of time; the windows of a kind follow one another without a gap.

    Names are "2026-11-24T13:05+01:00", "2026-11-24T13+01:00", "2026-11-24", "2026-W48", "2026-11",
    "2026-Q4", "2026" and "total". A week is one of ISO 8601 and begins on Monday. A minute or an
    hour has one offset from UTC. An hour that occurs twice is two windows, and a clock change
    within an hour cuts it short.
    """

    name: str
    start: float | None
    """Seconds since the epoch, included; None if it has no beginning."""
    end: float | None
    """Seconds since the epoch, not included; None if it never ends."""

    def contains(self, moment: float) -> bool:
        """Return True if a moment is in the window."""
        return (self.start is None or self.start <= moment) and (
            self.end is None or moment < self.end
        )


TOTAL = Window("total", None, None)


def find_window(kind: WindowKind, moment: float, zone: tzinfo) -> Window:
    """Return the window of a moment, which is in seconds since the epoch."""
    if kind == "total":
        return TOTAL
    if kind in _CLOCK_SECONDS:
        return _find_clock_window(kind, moment, zone)
    find_first_day, find_next_start, format_name = _CALENDAR[kind]
    first_day = find_first_day(datetime.fromtimestamp(moment, zone).date())
    # If clocks fall back over midnight, they show the old date again after the new day began.
    if moment >= _midnight(find_next_start(first_day), zone):
        first_day = find_next_start(first_day)
    return Window(
        format_name(first_day),
        _midnight(first_day, zone),
        _midnight(find_next_start(first_day), zone),
    )


def parse_window(name: str, zone: tzinfo) -> Window:
    """Return the window of a name that `find_window` gave in this zone. Raises ValueError."""
    if name == TOTAL.name:
        return TOTAL
    kind, start = _parse_name(name)
    if kind not in _CLOCK_SECONDS:
        return find_window(kind, _midnight(start.date(), zone), zone)
    # A clock change may have cut off the beginning or the end of the hour.
    moments = (start.timestamp(), start.timestamp() + _CLOCK_SECONDS[kind] - 1)
    windows = (_find_clock_window(kind, moment, zone) for moment in moments)
    window = next((item for item in windows if item.name == name), None)
    if window is None:
        raise ValueError(f"there is no {kind} {name} in {zone}")
    return window


def has_ended(name: str, now: float) -> bool:
    """Return True if a window ended in every zone, and some time ago; False for an unknown name."""
    try:
        kind, start = _parse_name(name)
    except ValueError:
        return False
    if kind in _CLOCK_SECONDS:
        grace = _MINUTE_GRACE_SECONDS if kind == "minute" else _GRACE_SECONDS
        return start.timestamp() + _CLOCK_SECONDS[kind] + grace <= now
    _, find_next_start, _ = _CALENDAR[kind]
    return _midnight(find_next_start(start.date()), UTC) + _GRACE_SECONDS <= now


def compute_minute_wait(name: str, now: float) -> float | None:
    """Return the seconds until the window of a minute ends; None for a longer window."""
    if name == TOTAL.name:
        return None
    kind, start = _parse_name(name)
    return start.timestamp() + _CLOCK_SECONDS[kind] - now if kind == "minute" else None


def _find_clock_window(kind: WindowKind, moment: float, zone: tzinfo) -> Window:
    seconds, second = _CLOCK_SECONDS[kind], int(moment // 1)
    offset = _find_offset(second, zone)
    start = (second + offset) // seconds * seconds - offset
    end = start + seconds
    local_time = datetime.fromtimestamp(moment, zone)
    clock = f"{local_time:%Y-%m-%dT%H:%M}" if kind == "minute" else f"{local_time:%Y-%m-%dT%H}"
    if _find_offset(start, zone) != offset:
        start = _find_offset_change(start, second, zone)
    if _find_offset(end - 1, zone) != offset:
        end = _find_offset_change(second, end - 1, zone)
    return Window(f"{clock}{_format_offset(local_time)}", float(start), float(end))


def _find_offset_change(low: int, high: int, zone: tzinfo) -> int:
    """Return the first second after `low` with another offset, which `high` must have."""
    old_offset = _find_offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _find_offset(middle, zone) == old_offset else (low, middle)
    return high


def _find_offset(second: int, zone: tzinfo) -> int:
    delta = datetime.fromtimestamp(second, zone).utcoffset()
    return int(delta.total_seconds()) if delta is not None else 0


def _format_offset(local_time: datetime) -> str:
    """Format an offset as +01:00."""
    text = f"{local_time:%z}"
    return f"{text[:3]}:{text[3:]}"


def _parse_name(name: str) -> tuple[WindowKind, datetime]:
    """Return the kind of a window's name, and its start on the clock. Raises ValueError."""
    for kind, pattern, start in _NAME_PATTERNS:
        if (match := re.fullmatch(pattern, name)) is not None:
            return kind, datetime.fromisoformat(match.expand(start))
    if (match := re.fullmatch(r"(\d{4})-Q([1-4])", name)) is not None:
        first_month = (int(match[2]) - 1) * _QUARTER_MONTHS + 1
        return "quarter", datetime.fromisoformat(f"{match[1]}-{first_month:02}-01")
    raise ValueError(f"{name!r} names no window")


def _next_day(day: date) -> date:
    return day + timedelta(days=1)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _next_monday(day: date) -> date:
    return day + timedelta(days=7)


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _next_month(day: date, months: int = 1) -> date:
    count = day.year * 12 + day.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def _first_of_quarter(day: date) -> date:
    return date(day.year, (day.month - 1) // _QUARTER_MONTHS * _QUARTER_MONTHS + 1, 1)


def _next_quarter(day: date) -> date:
    return _next_month(day, _QUARTER_MONTHS)


def _first_of_year(day: date) -> date:
    return date(day.year, 1, 1)


def _next_year(day: date) -> date:
    return date(day.year + 1, 1, 1)


def _format_week(day: date) -> str:
    return f"{day:%G-W%V}"


def _format_quarter(day: date) -> str:
    return f"{day.year:04}-Q{(day.month - 1) // _QUARTER_MONTHS + 1}"


type _Calendar = tuple[Callable[[date], date], Callable[[date], date], Callable[[date], str]]
_CALENDAR: dict[WindowKind, _Calendar] = {
    "day": (lambda day: day, _next_day, date.isoformat),
    "week": (_monday, _next_monday, _format_week),
    "month": (_first_of_month, _next_month, lambda day: day.isoformat()[:7]),
    "quarter": (_first_of_quarter, _next_quarter, _format_quarter),
    "year": (_first_of_year, _next_year, lambda day: day.isoformat()[:4]),
}
"""For windows of whole days: the first day, the first day of the next window, and the name."""


def _midnight(day: date, zone: tzinfo) -> float:
    """Return when a day begins; where clocks skip midnight, the moment of the change."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
