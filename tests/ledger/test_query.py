"""Days in a time zone, and the order of groups."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.query import Days, QueryGroup, build_group, make_sort_key

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "America/Havana",  # clocks go forward at midnight, and back to midnight
    "America/Santiago",  # clocks go forward at midnight, and back across midnight
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Asia/Beirut",
]


@given(at=st.floats(1_600_000_000, 2_000_000_000), zone=st.sampled_from(ZONES))
def test_a_moment_is_on_the_day_that_clocks_show(at: float, zone: str) -> None:
    place = ZoneInfo(zone)
    days = Days(place, at - 1e6, at + 1e6)
    assert (
        days.names[days.find_position(at) - 1]
        == datetime.fromtimestamp(at, place).date().isoformat()
    )


@pytest.mark.parametrize("zone", ZONES)
def test_moments_around_every_midnight_are_on_the_day_that_clocks_show(zone: str) -> None:
    place = ZoneInfo(zone)
    first = datetime(2025, 12, 31, tzinfo=place).timestamp()
    days = Days(place, first, first + 2 * 366 * 86_400)
    for start in days.starts:
        for at in (start - 3600, start - 0.001, start, start + 0.001, start + 3600):
            if days.starts[0] <= at < days.starts[-1]:
                name = days.names[days.find_position(at) - 1]
                assert name == datetime.fromtimestamp(at, place).date().isoformat()


def test_a_zone_may_be_any_offset() -> None:
    zone = timezone(timedelta(hours=5, minutes=7))
    days = Days(zone, 0.0, 0.0)
    assert days.names == ["1969-12-31", "1970-01-01", "1970-01-02"]
    assert days.starts[1] == -(5 * 3600 + 7 * 60)


def test_groups_are_in_order_of_day_and_then_of_cost() -> None:
    def group_of(day: str, tier: str | None, cost: str | None) -> QueryGroup:
        dear = None if cost is None else Decimal(cost)
        return build_group(
            ["tier", "day"], [tier, day, 1, 0, 0, 0, 0, *[None] * 5, dear, *[None] * 5], None
        )

    groups = [
        group_of("2026-01-01", "b", "3"),
        group_of("2026-01-01", "a", "2"),
        group_of("2026-01-01", None, "0"),
        group_of("2026-01-01", "c", None),
        group_of("2026-01-02", "a", "9"),
    ]
    assert sorted([*groups[2:], *groups[:2]], key=make_sort_key(["tier", "day"])) == groups
