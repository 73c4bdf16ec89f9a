"""Windows in time zones: contiguous, exact at midnight, on days of 23, 24 and 25 hours."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import WindowKind
from gateway.limits import window
from gateway.limits.window import Window

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/Santiago", "Asia/Beirut", "Africa/Cairo", "America/Nuuk", "Pacific/Kiritimati", "Pacific/Chatham",
)  # fmt: skip
BERLIN = ZoneInfo("Europe/Berlin")

ENDING: tuple[WindowKind, ...] = ("minute", "hour", "day", "week", "month", "quarter", "year")
"""The kinds of windows that end."""
BEGINNINGS = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
    "quarter": lambda day: day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
    "year": lambda day: day.replace(month=1, day=1),
}
"""The first day of a window of whole days: the calendar's own arithmetic."""

zones = st.sampled_from(ZONES).map(ZoneInfo)
moments = st.integers(1_577_836_800, 2_208_988_800)
"""Moments from 2020 to 2040."""


def changes(zone: tzinfo, year: int) -> Iterator[int]:
    """Yield the moments of a year at which clocks move."""
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    for moment in range(start, start + 366 * 86_400, 900):
        before, after = (
            datetime.fromtimestamp(at, zone).utcoffset() for at in (moment - 900, moment)
        )
        if before != after:
            yield moment


near = st.sampled_from(
    [
        (ZoneInfo(name), second)
        for name in ZONES
        for year in (2024, 2026)
        for second in changes(ZoneInfo(name), year)
    ]
).flatmap(lambda one: st.tuples(st.just(one[0]), st.integers(one[1] - 5_400, one[1] + 5_400)))
"""A zone, and a moment within 90 minutes of a clock change."""


def shown(every: WindowKind, moment: int, zone: tzinfo) -> object:
    """Return the window that a wall clock shows: the plain model."""
    local = datetime.fromtimestamp(moment, zone)
    if every in ("minute", "hour"):
        minute = local.minute if every == "minute" else 0
        return (local.replace(minute=minute, second=0, tzinfo=None), local.utcoffset())
    week, month = local.isocalendar(), local.month
    return {
        "day": local.date(), "week": (week.year, week.week), "month": (local.year, month),
        "quarter": (local.year, -(-month // 3)), "year": local.year,
    }[every]  # fmt: skip


@pytest.mark.parametrize("every", ENDING)
@given(zoned=st.one_of(near, st.tuples(zones, moments)), offset=st.integers(0, 5_000))
def test_all_seconds_of_a_window_show_the_same_hour_or_day_on_a_wall_clock(
    every: WindowKind, zoned: tuple[ZoneInfo, int], offset: int
) -> None:
    """Seconds before and after it differ. The test takes the edges and some seconds between."""
    zone, moment = zoned
    span = window.find_window(every, moment, zone)
    assert span.start is not None
    assert span.end is not None
    first, last = int(span.start), int(span.end) - 1
    assert first == span.start <= moment <= last
    expected = shown(every, moment, zone)
    step = 5_003 + offset + (last - first) // 700
    inside = {*range(first, min(first + 60, last)), *range(first, last, step), last}
    assert {shown(every, inner, zone) for inner in inside} == {expected}
    assert shown(every, first - 1, zone) != expected
    assert shown(every, last + 1, zone) != expected
    assert {window.find_window(every, inner, zone) for inner in inside} == {span}
    assert window.find_window(every, last + 0.999, zone) == span
    assert window.find_window(every, span.end, zone).start == span.end
    assert window.find_window(every, first - 0.001, zone).end == span.start


@pytest.mark.parametrize("every", [*ENDING, "total"])
@given(zoned=st.one_of(near, st.tuples(zones, moments)))
def test_each_window_has_its_own_name(every: WindowKind, zoned: tuple[ZoneInfo, int]) -> None:
    zone, moment = zoned
    span = window.find_window(every, moment, zone)
    assert window.parse_window(span.name, zone) == span
    assert span.contains(moment)
    assert not window.has_ended(span.name, span.end or 2e12)
    assert window.has_ended(span.name, (span.end or 0) + 4 * 86_400) is (every != "total")


@pytest.mark.parametrize("every", BEGINNINGS)
@given(zoned=st.one_of(near, st.tuples(zones, moments)))
def test_a_window_of_days_begins_at_the_midnight_that_zoneinfo_knows(
    every: WindowKind, zoned: tuple[ZoneInfo, int]
) -> None:
    """It ends where the next begins, whatever clocks do in it."""
    zone, moment = zoned
    span = window.find_window(every, moment, zone)
    assert span.start is not None
    assert span.end is not None
    # A day begins at the first second that shows its date, also if clocks skip midnight.
    first = datetime.fromtimestamp(span.start, zone).date()
    assert first == BEGINNINGS[every](first)
    assert span.start == datetime(first.year, first.month, first.day, tzinfo=zone).timestamp()
    following = datetime.fromtimestamp(span.end, zone).date()
    assert following == BEGINNINGS[every](following) != first
    days = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}[every]
    assert 0 < (following - first).days <= days
    hours = (span.end - span.start) / 3_600
    assert abs(hours - 24 * (following - first).days) <= 1


@pytest.mark.parametrize(
    ("every", "name", "start", "end"),
    [
        ("minute", "2027-01-01T12:34+01:00", "2027-01-01T12:34", "2027-01-01T12:35"),
        ("week", "2026-W53", "2026-12-28", "2027-01-04"),
        ("quarter", "2027-Q1", "2027-01-01", "2027-04-01"),
        ("year", "2027", "2027-01-01", "2028-01-01"),
    ],
)
def test_a_window_has_the_name_of_its_period(
    every: WindowKind, name: str, start: str, end: str
) -> None:
    """1 January 2027 is a Friday: its week is one of 2026 (ISO 8601)."""
    at = datetime(2027, 1, 1, 12, 34, 56, tzinfo=BERLIN).timestamp()
    edges = [datetime.fromisoformat(edge).replace(tzinfo=BERLIN).timestamp() for edge in (start, end)]  # fmt: skip
    assert window.find_window(every, at, BERLIN) == Window(name, *edges)


def test_counters_of_minutes_are_kept_for_an_hour() -> None:
    """Two days of them would be thousands for each key."""
    span = window.find_window("minute", 1_793_000_000, BERLIN)
    assert span.end is not None
    assert not window.has_ended(span.name, span.end + 3_599)
    assert window.has_ended(span.name, span.end + 3_600)


@pytest.mark.parametrize("every", ["hour", "day", "week", "month", "quarter", "year"])
def test_counters_of_longer_windows_are_kept_for_two_days_after_their_end_in_utc(
    every: WindowKind,
) -> None:
    span = window.find_window(every, 1_793_000_000, UTC)
    assert span.end is not None
    assert not window.has_ended(span.name, span.end + 2 * 86_400 - 1)
    assert window.has_ended(span.name, span.end + 2 * 86_400)


def test_only_the_next_minute_is_worth_waiting_for() -> None:
    now = 1_793_000_000.5
    waits = [
        window.compute_minute_wait(window.find_window(every, now, BERLIN).name, now)
        for every in (*ENDING, "total")
    ]
    assert waits == [39.5, *[None] * 7]


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-24", 24)]
)
def test_days_have_23_24_and_25_hours(day: str, hours: int) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=BERLIN).timestamp()
    span = window.find_window("day", noon, BERLIN)
    assert span.start is not None
    assert span.end is not None
    assert (span.name, span.end - span.start) == (day, hours * 3_600)


def test_an_hour_that_happens_twice_is_two_windows() -> None:
    """SEC-BUDGET 7: in Berlin, on 25 October 2026, clocks go back from 3:00 to 2:00."""
    start = datetime(2026, 10, 25, tzinfo=UTC).timestamp()
    span = [window.find_window("hour", start + 3_600 * hour, BERLIN) for hour in range(3)]
    names = ["2026-10-25T02+02:00", "2026-10-25T02+01:00", "2026-10-25T03+01:00"]
    starts = [start, start + 3_600, start + 7_200]
    assert span == [Window(name, at, at + 3_600) for name, at in zip(names, starts, strict=True)]


def test_clocks_that_move_by_half_an_hour_cut_an_hour_short() -> None:
    """On Lord Howe Island, clocks go from 2:00 to 2:30 on 4 October 2026."""
    zone = ZoneInfo("Australia/Lord_Howe")
    moved = datetime(2026, 10, 3, 15, 30, tzinfo=UTC).timestamp()
    assert window.find_window("hour", moved, zone) == Window(
        "2026-10-04T02+11:00", moved, moved + 1_800
    )


@pytest.mark.parametrize(
    ("moment", "day", "month"),
    [
        ("2026-11-30T23:59:59.999999", "2026-11-30", "2026-11"),
        ("2026-12-01T00:00:00", "2026-12-01", "2026-12"),
        ("2026-12-31T23:59:59.999999", "2026-12-31", "2026-12"),
        ("2027-01-01T00:00:00", "2027-01-01", "2027-01"),
        ("2028-02-29T12:00:00", "2028-02-29", "2028-02"),
    ],
)
@pytest.mark.parametrize("zone", [UTC, BERLIN, ZoneInfo("America/New_York")])
def test_midnight_is_exact(moment: str, day: str, month: str, zone: tzinfo) -> None:
    """SEC-BUDGET 7: a microsecond earlier belongs to the day before, in UTC and elsewhere."""
    at = datetime.fromisoformat(moment).replace(tzinfo=zone).timestamp()
    assert (
        window.find_window("day", at, zone).name,
        window.find_window("month", at, zone).name,
    ) == (day, month)


def test_a_new_day_continues_if_clocks_go_back_over_midnight() -> None:
    """In St. John's, clocks went from 0:01 back to 23:01 of the day before: the new day goes on."""
    zone = ZoneInfo("America/St_Johns")
    moved = datetime(2010, 11, 7, 2, 31, tzinfo=UTC).timestamp()
    assert f"{datetime.fromtimestamp(moved, zone):%d %H:%M}" == "06 23:01"
    names = [window.find_window("day", moved + moment, zone).name for moment in (-61, -1, 0, 3_540)]
    assert names == ["2010-11-06", "2010-11-07", "2010-11-07", "2010-11-07"]


@pytest.mark.parametrize(
    "name", ["", "x", "2026-13", "2026-02-30", "2026-11-24T25+01:00", "60s", "2025-W53", "2026-Q5"]
)
def test_an_invalid_window_name_is_refused_and_has_not_ended(name: str) -> None:
    with pytest.raises(ValueError):
        window.parse_window(name, UTC)
    assert not window.has_ended(name, 1e12)


def test_the_error_quotes_a_name_of_no_window() -> None:
    with pytest.raises(ValueError, match="'2026-X' names no window"):
        window.parse_window("2026-X", UTC)


def test_a_change_of_clocks_within_an_hour_cuts_off_its_end() -> None:
    """On the Chatham Islands clocks go from 02:45 to 03:45."""
    zone = ZoneInfo("Pacific/Chatham")
    change = datetime(2026, 9, 26, 14, tzinfo=UTC).timestamp()
    for moment in (change - 2_700, change - 1):
        span = window.find_window("hour", moment, zone)
        assert span == Window("2026-09-27T02+12:45", change - 2_700, change)
    assert window.find_window("hour", change, zone) == Window(
        "2026-09-27T03+13:45", change, change + 900
    )


def test_whether_a_window_has_ended_does_not_depend_on_the_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        end = datetime(2026, 11, 25, tzinfo=UTC).timestamp()
        ended = [window.has_ended("2026-11-24", end + 2 * 86_400 - rest) for rest in (1, 0)]
    time.tzset()
    assert ended == [False, True]


def test_moments_before_1970_have_windows() -> None:
    assert window.find_window("minute", -0.5, UTC) == Window("1969-12-31T23:59+00:00", -60.0, 0.0)


def test_an_hour_of_another_zone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no hour 2026-11-24T13\+05:00 in Europe/Berlin"):
        window.parse_window("2026-11-24T13+05:00", BERLIN)


def test_the_total_window_contains_every_moment() -> None:
    assert window.TOTAL.contains(0)
    assert not Window("2026", 10.0, 20.0).contains(9.9)
    assert not Window("2026", 10.0, 20.0).contains(20.0)
