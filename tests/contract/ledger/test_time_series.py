"""Every ledger store returns series that add up to its sums, and exact percentiles of times."""

import math
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger.sql_store import SqlStore
from gateway.ledger.time_series import LatencySpread, LatencyTimes, build_slots, sum_over_slots
from tests.contract.ledger.conftest import Make, fed
from tests.ledger.rows import entry

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_series_counts_a_call_in_the_hour_of_its_arrival(store: SqlStore, folder: Path) -> None:
    """The repeated hour of a clock change is two slots. A slot without calls has no group."""
    moments = ["2026-10-25T02:10+02:00", "2026-10-25T02:50+02:00", "2026-10-25T02:10+01:00", "2026-10-25T04:00+01:00"]  # fmt: skip
    rows = [entry(f"c{n}", at=at(text), tier="fast" if n else None, cost=Decimal(n + 1)) for n, text in enumerate(moments)]  # fmt: skip
    slots = build_slots("hour", at("2026-10-25T01:30+02:00"), at("2026-10-25T05:00+01:00"), BERLIN)
    groups = fed(store, folder, rows).sum_costs(("tier",), since=slots.starts[0], slots=slots)
    assert {group.names: group.cost for group in groups} == {
        (None, "2026-10-25T02:00+02:00"): Decimal(1),
        ("fast", "2026-10-25T02:00+02:00"): Decimal(2),
        ("fast", "2026-10-25T02:00+01:00"): Decimal(3),
        ("fast", "2026-10-25T04:00+01:00"): Decimal(4),
    }


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_moment_belongs_to_the_slot_that_began_last(
    store: SqlStore, folder: Path, zone: str
) -> None:
    """Slots are exact to the microsecond, also over a day of 25 hours; the last slot has no end."""
    place = ZoneInfo(zone)
    for every in ("hour", "day"):
        slots = build_slots(every, at("2026-10-24T00:00Z"), at("2026-10-27T00:00Z"), place)
        moments = [m for s in slots.starts[1:] for m in (s - 0.000001, s, s + 0.000001)]
        moments += [slots.starts[0], slots.starts[-1] + 10**6]
        rows = [entry(f"{every}{n}", at=moment, key=every) for n, moment in enumerate(moments)]
        groups = fed(store, folder, rows).sum_costs(("key",), since=slots.starts[0], slots=slots, only={"key": [every]})  # fmt: skip
        counted = {group.names[1]: group.calls for group in groups}
        expected = dict.fromkeys(slots.names, 0)
        for moment in moments:
            expected[slots.names[slots.find_position(moment) - 1]] += 1
        assert counted == expected


_COST = st.none() | st.integers(0, 10**9).map(lambda n: Decimal(n).scaleb(-9))
_CALL = st.fixed_dictionaries(
    {
        "at": st.floats(1_793_000_000, 1_793_400_000),
        "tier": st.sampled_from(["fast", "smart", None]),
        "state": st.sampled_from(["settled", "failed", "cache_hit", "refused", "aborted"]),
        "cost": _COST,
        "baseline": _COST,
        "attempts": st.integers(1, 3),
        "input": st.none() | st.integers(0, 1_000),
        "duration": st.none() | st.floats(0.001, 100),
        "first_content": st.none() | st.floats(0.001, 100),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)  # fmt: skip
@given(calls=st.lists(_CALL, max_size=30), every=st.sampled_from(["hour", "day"]))
def test_the_slots_of_a_series_add_up_to_the_sums(
    make: Make, tmp_path_factory: pytest.TempPathFactory, calls: list[dict[str, object]], every: str
) -> None:
    """The series agrees with unknown costs too, and percentiles equal those of sorting."""
    store, folder = make(), tmp_path_factory.mktemp("journal")
    rows = [entry(f"c{n}", **group) for n, group in enumerate(calls)]
    fed(store, folder, rows)
    slots = build_slots(every, 1_793_000_000, 1_793_400_001, BERLIN)  # type: ignore[arg-type]  # of two
    groups = store.sum_costs(("tier",), since=slots.starts[0], slots=slots)
    whole = {group.names: group for group in store.sum_costs(("tier",))}
    assert {group.names: group for group in sum_over_slots(groups, 1)} == whole
    assert sum(group.calls for group in groups) == len(rows)
    for group in store.measure_latency(("tier",), since=slots.starts[0], slots=slots):
        tier, slot = group.names
        place = slots.names.index(slot or "")
        slot_rows = [r for r in rows if r.tier == tier and r.state == "settled" and slots.find_position(r.at) - 1 == place]  # fmt: skip
        assert group.duration == _spread([r.duration for r in slot_rows])
        assert group.first_content == _spread([r.first_content for r in slot_rows])
    store.close()


def _spread(values: list[float | None]) -> LatencySpread | None:
    times = sorted(v for v in values if v is not None)
    if not times:
        return None
    ranks = (times[max(0, math.ceil(len(times) * p / 100) - 1)] for p in (50, 95, 99))
    return LatencySpread(len(times), *ranks)


def test_latency_counts_only_calls_that_a_provider_answered(store: SqlStore, folder: Path) -> None:
    rows = [entry(f"c{n}", duration=float(n), first_content=None, model="m") for n in range(1, 201)]
    rows += [
        entry("hit", state="cache_hit", duration=0.001, model="m"),
        entry("bad", state="failed", duration=900.0, model="m"),
        entry("gone", state="aborted", duration=900.0, model="m"),
        entry("none", state="failed", duration=900.0, model="other"),
        entry("tagged", duration=3.0, first_content=0.5, model="t", tags=("a", "b")),
    ]
    fed(store, folder, rows)
    assert store.measure_latency(("model",)) == [
        LatencyTimes(("m",), LatencySpread(200, 100.0, 190.0, 198.0), None),
        LatencyTimes(("t",), LatencySpread(1, 3.0, 3.0, 3.0), LatencySpread(1, 0.5, 0.5, 0.5)),
    ]
    (whole,) = store.measure_latency(only={"model": ["m"]})
    assert whole.names == ()
    assert [group.names for group in store.measure_latency(("tag",), only={"model": ["t"]})] == [
        ("a",),
        ("b",),
    ]
    assert store.measure_latency(until=0.0) == []


def test_an_invalid_grouping_of_a_series_is_an_error(store: SqlStore) -> None:
    slots = build_slots("day", 0.0, 100_000.0, BERLIN)
    for ask in (store.sum_costs, store.measure_latency):
        with pytest.raises(ValueError, match="cannot be grouped by day"):
            ask(("day",), slots=slots)
        with pytest.raises(ValueError, match="cannot group by slot"):
            ask(("slot",))
    with pytest.raises(ValueError, match="cannot group by day"):
        store.measure_latency(("day",))
