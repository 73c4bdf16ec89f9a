"""Slots of a time series: contiguous, aligned to the clock, also when clocks move."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.query import QueryGroup
from gateway.ledger.time_series import (
    MAX_SLOTS,
    SLOT_LENGTHS,
    SlotLength,
    build_slots,
    choose_slot_length,
    fold_names,
)
from tests.ledger.test_query import ZONES

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def sums(*names: str | None, calls: int = 1, cost: str | None = None) -> QueryGroup:
    return QueryGroup(
        names=names, calls=calls, cached=0, failed=0, unknown=0, input=1, cache_read=None,
        cache_write=None, output=2, reasoning=None, cost=None if cost is None else Decimal(cost),
    )  # fmt: skip


def test_all_but_the_dearest_names_are_added_up() -> None:
    """A name's cost is that of all its slots; calls without a name stay apart."""
    groups = [
        sums("fast", "a", cost="1"),
        sums("fast", "a", cost="2"),
        sums("fast", "b", cost="0.5"),
        sums("fast", "c"),
        sums("smart", "c", cost="0.25"),
        sums("fast", None, cost="9"),
    ]
    folded = fold_names(groups, 1, 1)
    assert [(group.names, group.calls, group.cost) for group in folded] == [
        (("fast", "a"), 2, Decimal(3)),
        (("fast", "others"), 2, Decimal("0.5")),
        (("smart", "others"), 1, Decimal("0.25")),
        (("fast", None), 1, Decimal(9)),
    ]
    assert fold_names(groups, 1, 3) == groups


@given(
    since=st.floats(1_600_000_000, 2_000_000_000),
    length=st.floats(0.001, 3_600 * 400),
    every=st.sampled_from(SLOT_LENGTHS),
    zone=st.sampled_from(ZONES),
)
def test_slots_cover_the_time_and_no_more(
    since: float, length: float, every: SlotLength, zone: str
) -> None:
    """Every moment is in one slot, and each slot begins on a full minute, hour or day."""
    until = since + (min(length, 60.0 * MAX_SLOTS) if every == "minute" else length)
    slots = build_slots(every, since, until, ZoneInfo(zone))
    starts = slots.starts
    assert starts == sorted(set(starts))
    assert starts[0] <= since
    assert starts[-1] < until
    longest = {"minute": 60, "hour": 3_600, "day": 25 * 3_600}[every]
    gaps = [b - a for a, b in zip(starts, [*starts[1:], until], strict=True)]
    assert all(0 < gap <= longest for gap in gaps)
    assert since - starts[0] < longest
    assert len(set(slots.names)) == len(starts)
    for moment in (since, (since + until) / 2):
        assert starts[slots.find_position(moment) - 1] <= moment
    if every == "day":
        assert all(datetime.fromtimestamp(s, ZoneInfo(zone)).date().isoformat() == name for s, name in zip(starts, slots.names, strict=True))  # fmt: skip


def test_a_day_with_a_clock_change_has_all_its_hours() -> None:
    def names(since: str, until: str) -> list[str]:
        return build_slots("hour", at(since), at(until), BERLIN).names

    back = names("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00")
    assert len(back) == 25
    assert back[2:4] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    on = names("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00")
    assert len(on) == 23
    assert on[1:3] == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]
    days = build_slots("day", at("2026-10-24T12:00+02:00"), at("2026-10-26T12:00+01:00"), BERLIN)
    assert days.names == ["2026-10-24", "2026-10-25", "2026-10-26"]
    assert days.starts[2] - days.starts[1] == 25 * 3_600


def test_slots_follow_a_zone_that_is_half_an_hour_off() -> None:
    slots = build_slots("hour", at("2026-11-26T10:20+05:30"), at("2026-11-26T12:00+05:30"), ZoneInfo("Asia/Kolkata"))  # fmt: skip
    assert slots.names == ["2026-11-26T10:00+05:30", "2026-11-26T11:00+05:30"]


def test_the_length_of_a_slot_fits_the_period() -> None:
    assert choose_slot_length(0, 3_600) == "minute"
    assert choose_slot_length(0, 86_400) == choose_slot_length(0, 7 * 86_400) == "hour"
    assert choose_slot_length(0, 30 * 86_400) == "day"


def test_a_series_that_is_too_long_is_refused() -> None:
    assert len(build_slots("minute", 0.0, 60.0 * MAX_SLOTS, BERLIN).names) == MAX_SLOTS
    with pytest.raises(ValueError, match="at most 5000 slots"):
        build_slots("minute", 0.0, 60.0 * MAX_SLOTS + 1, BERLIN)
