"""Times as written: hours of a day, days of the week, moments, and time zones."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gateway.settings.errors import suggest_name
from gateway.settings.schema.base import STRICT_CONFIG, wrap_in_list


def parse_hours(text: str) -> tuple[int, int]:
    """Return the seconds of the day at which hours such as "01:00-04:00" begin and end.

    Raises ValueError.
    """
    match = re.fullmatch(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", text)
    if match is None:
        raise ValueError("must be hours of a day, as 01:00-04:00")
    start, end = (int(match[group]) * 3600 + int(match[group + 1]) * 60 for group in (1, 3))
    if not start < end <= 24 * 3600:
        raise ValueError(
            "must end after it begins and by 24:00; one over midnight is two, "
            "as 22:00-24:00 and 00:00-02:00"
        )
    return start, end


_MOMENT_PATTERN = re.compile(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d\S*)?)(?: ([A-Za-z]\S+))?")


def parse_moment(text: str) -> float:
    """Return seconds since the epoch for a text such as "2026-12-24 18:00 Europe/Berlin".

    A text without a zone or offset is in UTC, and one without an hour means midnight. Raises
    ValueError.
    """
    match = _MOMENT_PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a time, as 2026-12-24 18:00 or 2026-12-24 18:00 Europe/Berlin")
    zone = ZoneInfo(_check_zone(match[2])) if match[2] else UTC
    moment = datetime.fromisoformat(match[1])
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _check_hours(text: str) -> str:
    parse_hours(text)
    return text


def _expand_days(value: object) -> object:
    """Expand ranges such as "mon-fri" into single days; "sat-mon" passes over Sunday."""
    entries = wrap_in_list(value)
    if not isinstance(entries, list):
        return entries
    days: list[object] = []
    for item in entries:
        first, separator, last = item.partition("-") if isinstance(item, str) else ("", "", "")
        if separator and first in WEEKDAYS and last in WEEKDAYS:
            start, end = WEEKDAYS.index(first), WEEKDAYS.index(last)
            days += [WEEKDAYS[index % 7] for index in range(start, end + 1 + 7 * (end < start))]
        else:
            days.append(item)
    return days


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name is a folder of zones
        hint = suggest_name(name, available_timezones())
        raise ValueError(f"no time zone {name!r}. {hint}".rstrip(" .")) from None
    return name


type Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday.__value__)
type HoursText = Annotated[str, AfterValidator(_check_hours)]
type ZoneName = Annotated[str, AfterValidator(_check_zone)]


class TimePart(BaseModel):
    """Hours of days of the week, in the local time of a zone."""

    model_config = STRICT_CONFIG

    hours: Annotated[list[HoursText], BeforeValidator(wrap_in_list), Field(min_length=1)] = [
        "00:00-24:00"
    ]
    days: Annotated[list[Weekday], BeforeValidator(_expand_days), Field(min_length=1)] = list(
        WEEKDAYS
    )
    zone: ZoneName = "UTC"

    @property
    def week_spans(self) -> tuple[tuple[int, int], ...]:
        """The hours as seconds of a week that begins on Monday: start, and end (excluded)."""
        return tuple(
            (WEEKDAYS.index(day) * 86_400 + start, WEEKDAYS.index(day) * 86_400 + end)
            for day in self.days
            for start, end in map(parse_hours, self.hours)
        )
