"""Windows of budgets: hours, days and months of a time zone, each with its name, start and end."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

import msgspec

type Every = Literal["hour", "day", "month", "total"]

_HOUR = 3_600
_GRACE = 2 * 86_400.0
"""Seconds after the end in UTC: more than any zone is behind, and than a call runs on."""


class Window(msgspec.Struct, frozen=True):
    """A stretch of time; the windows of a kind lie side by side, with no gap between them.

    Names are "2026-11-24T13+01:00", "2026-11-24", "2026-11" and "total". An hour is of one offset
    from UTC: one that happens twice is two windows, and clocks that move within one cut it short.
    """

    name: str
    start: float | None
    """Seconds since the epoch, included; None where it has always been."""
    end: float | None
    """Not included; None where it never ends."""

    def has(self, moment: float) -> bool:
        """Whether a moment lies in it."""
        return (self.start is None or self.start <= moment) and (
            self.end is None or moment < self.end
        )


TOTAL = Window("total", None, None)


def at(every: Every, moment: float, zone: tzinfo) -> Window:
    """The window of a moment, in seconds since the epoch."""
    if every == "total":
        return TOTAL
    if every == "hour":
        return _hour(moment, zone)
    local = datetime.fromtimestamp(moment, zone).date()
    first, following = (local, _tomorrow) if every == "day" else (local.replace(day=1), _next_month)
    # Where clocks fall back over midnight, the old date is shown again after the new day began.
    if moment >= _midnight(following(first), zone):
        first = following(first)
    name = first.isoformat() if every == "day" else first.isoformat()[:7]
    return Window(name, _midnight(first, zone), _midnight(following(first), zone))


def read(name: str, zone: tzinfo) -> Window:
    """The window of a name that `at` gave in this zone. Raises ValueError."""
    if name == TOTAL.name:
        return TOTAL
    every, start = _parsed(name)
    if every != "hour":
        return at(every, _midnight(start.date(), zone), zone)
    # Clocks that move may have cut off the beginning or the end.
    ends = (start.timestamp(), start.timestamp() + _HOUR - 1)
    found = next((one for end in ends if (one := _hour(end, zone)).name == name), None)
    if found is None:
        raise ValueError(f"there is no hour {name} in {zone}")
    return found


def ended(name: str, now: float) -> bool:
    """Whether a window has ended a day ago or more, in whatever zone; what is no name has not."""
    try:
        every, start = _parsed(name)
    except ValueError:
        return False
    if every == "hour":
        return start.timestamp() + _HOUR + _GRACE <= now
    following = _tomorrow if every == "day" else _next_month
    return _midnight(following(start.date()), UTC) + _GRACE <= now


def _hour(moment: float, zone: tzinfo) -> Window:
    offset = _offset(int(moment // 1), zone)
    start = (int(moment // 1) + offset) // _HOUR * _HOUR - offset
    end = start + _HOUR
    local = datetime.fromtimestamp(moment, zone)
    name = f"{local:%Y-%m-%dT%H}{_shown(local)}"
    if _offset(start, zone) != offset:
        start = _change(start, int(moment // 1), zone)
    if _offset(end - 1, zone) != offset:
        end = _change(int(moment // 1), end - 1, zone)
    return Window(name, float(start), float(end))


def _change(low: int, high: int, zone: tzinfo) -> int:
    """The first second after `low` with another offset; `high` has one."""
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high


def _offset(second: int, zone: tzinfo) -> int:
    found = datetime.fromtimestamp(second, zone).utcoffset()
    return int(found.total_seconds()) if found is not None else 0


def _shown(local: datetime) -> str:
    """An offset as +01:00."""
    text = f"{local:%z}"
    return f"{text[:3]}:{text[3:]}"


def _parsed(name: str) -> tuple[Every, datetime]:
    """What kind of window a name is of, and when it starts on the clock. Raises ValueError."""
    if re.fullmatch(r"\d{4}-\d\d", name):
        return "month", datetime.fromisoformat(f"{name}-01")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", name):
        return "day", datetime.fromisoformat(name)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d[+-]\d\d:\d+", name):
        return "hour", datetime.fromisoformat(f"{name[:13]}:00{name[13:]}")
    raise ValueError(f"{name!r} names no window")


def _tomorrow(day: date) -> date:
    return day + timedelta(days=1)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _midnight(day: date, zone: tzinfo) -> float:
    """When a day begins: where clocks skip midnight, the moment at which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
