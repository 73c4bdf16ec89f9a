"""Windows of budgets: hours, days and months of a time zone, each with its name, start and end."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

import msgspec

type WindowKind = Literal["hour", "day", "month", "total"]

_HOUR_SECONDS = 3_600
_GRACE_SECONDS = 2 * 86_400.0
"""Seconds after the end of a window in UTC: longer than any zone is behind, and than a call
runs."""


class Window(msgspec.Struct, frozen=True):
    """A period of time; the windows of a kind follow one another without a gap.

    Names are "2026-11-24T13+01:00", "2026-11-24", "2026-11" and "total". An hour has one offset
    from UTC. An hour that occurs twice is two windows, and a clock change within an hour cuts it
    short.
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
    if kind == "hour":
        return _find_hour(moment, zone)
    local_date = datetime.fromtimestamp(moment, zone).date()
    first_day, next_start = (
        (local_date, _next_day) if kind == "day" else (local_date.replace(day=1), _next_month)
    )
    # If clocks fall back over midnight, they show the old date again after the new day began.
    if moment >= _midnight(next_start(first_day), zone):
        first_day = next_start(first_day)
    name = first_day.isoformat() if kind == "day" else first_day.isoformat()[:7]
    return Window(name, _midnight(first_day, zone), _midnight(next_start(first_day), zone))


def parse_window(name: str, zone: tzinfo) -> Window:
    """Return the window of a name that `find_window` gave in this zone. Raises ValueError."""
    if name == TOTAL.name:
        return TOTAL
    kind, start = _parse_name(name)
    if kind != "hour":
        return find_window(kind, _midnight(start.date(), zone), zone)
    # A clock change may have cut off the beginning or the end of the hour.
    moments = (start.timestamp(), start.timestamp() + _HOUR_SECONDS - 1)
    hour = next((one for moment in moments if (one := _find_hour(moment, zone)).name == name), None)
    if hour is None:
        raise ValueError(f"there is no hour {name} in {zone}")
    return hour


def has_ended(name: str, now: float) -> bool:
    """Return True if a window ended a day ago or more in every zone; False for an unknown name."""
    try:
        kind, start = _parse_name(name)
    except ValueError:
        return False
    if kind == "hour":
        return start.timestamp() + _HOUR_SECONDS + _GRACE_SECONDS <= now
    next_start = _next_day if kind == "day" else _next_month
    return _midnight(next_start(start.date()), UTC) + _GRACE_SECONDS <= now


def _find_hour(moment: float, zone: tzinfo) -> Window:
    offset = _find_offset(int(moment // 1), zone)
    start = (int(moment // 1) + offset) // _HOUR_SECONDS * _HOUR_SECONDS - offset
    end = start + _HOUR_SECONDS
    local_time = datetime.fromtimestamp(moment, zone)
    name = f"{local_time:%Y-%m-%dT%H}{_format_offset(local_time)}"
    if _find_offset(start, zone) != offset:
        start = _find_offset_change(start, int(moment // 1), zone)
    if _find_offset(end - 1, zone) != offset:
        end = _find_offset_change(int(moment // 1), end - 1, zone)
    return Window(name, float(start), float(end))


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
    if re.fullmatch(r"\d{4}-\d\d", name):
        return "month", datetime.fromisoformat(f"{name}-01")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", name):
        return "day", datetime.fromisoformat(name)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d[+-]\d\d:\d+", name):
        return "hour", datetime.fromisoformat(f"{name[:13]}:00{name[13:]}")
    raise ValueError(f"{name!r} names no window")


def _next_day(day: date) -> date:
    return day + timedelta(days=1)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _midnight(day: date, zone: tzinfo) -> float:
    """Return when a day begins; where clocks skip midnight, the moment of the change."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
