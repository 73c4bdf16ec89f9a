"""Questions to the store: every sum is exact, and what is not known is not zero."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.entry import Entry
from gateway.ledger.journal import write
from gateway.ledger.query import BY, Group, costs
from gateway.ledger.store import Store
from tests.ledger.rows import entry

BERLIN = ZoneInfo("Europe/Berlin")


def stored(folder: Path, rows: Iterable[Entry]) -> Store:
    store = Store(f"sqlite:///{folder / 'ledger.db'}")
    (folder / "a.jsonl").write_bytes(b"".join(map(write, rows)))
    store.feed(folder)
    return store


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_group_adds_up_what_its_calls_used(tmp_path: Path) -> None:
    rows = [
        entry("a", cost=Decimal("0.10"), input=1, cache_read=10, cache_write=100, reasoning=4),
        entry("b", cost=Decimal("0.20"), input=2, cache_read=20, output=None),
        entry("c", state="cache_hit", cost=None, input=1_000, output=1_000),
        entry("d", state="failed", cost=None, input=None, output=None, status=502),
        entry("e", state="refused", cost=None, input=None, output=None, status=429),
        entry("f", state="unknown_crash", cost=None, input=None, output=None),
        entry("g", state="aborted", cost=None, input=None, output=5),
    ]
    assert costs(stored(tmp_path, rows), ("tier",)) == [
        Group(
            names=("fast",),
            calls=7,
            cached=1,
            failed=3,
            input=3,
            cache_read=30,
            cache_write=100,
            output=35,
            reasoning=4,
            cost=Decimal("0.30"),
            unknown=2,
        )
    ]


def test_what_no_call_of_a_group_knows_is_unknown(tmp_path: Path) -> None:
    rows = [
        entry("a", tier="fast", cost=None, input=None, output=None),
        entry("b", tier="smart", state="cache_hit", cost=None),
        entry("c", tier="reasoning", state="refused", cost=None, input=None, output=None),
    ]
    found = {group.names[0]: group for group in costs(stored(tmp_path, rows), ["tier"])}
    assert (found["fast"].cost, found["fast"].unknown, found["fast"].input) == (None, 1, None)
    assert (found["smart"].cost, found["smart"].unknown) == (Decimal(0), 0)
    assert (found["smart"].input, found["smart"].output) == (None, None)
    assert (found["reasoning"].cost, found["reasoning"].unknown) == (None, 0)


def test_an_empty_ledger_has_one_empty_sum_and_no_groups(tmp_path: Path) -> None:
    store = stored(tmp_path, [])
    (total,) = costs(store)
    assert (total.names, total.calls, total.cost, total.input) == ((), 0, None, None)
    assert costs(store, ["tier"]) == []


def test_sums_are_exact_where_floats_and_28_digits_are_not(tmp_path: Path) -> None:
    small = [entry(str(number), cost=Decimal("0.000000000001")) for number in range(10)]
    tenth = [entry(f"t{number}", cost=Decimal("0.1")) for number in range(3)]
    large = entry("large", cost=Decimal("99999999999999999999.0"))
    (total,) = costs(stored(tmp_path, [large, *tenth, *small]))
    assert total.cost == Decimal("99999999999999999999.300000000010")
    assert str(total.cost) == "99999999999999999999.300000000010"


def test_groups_by_several_names_and_what_has_no_name(tmp_path: Path) -> None:
    rows = [
        entry("a", lab="openai", model="x", cost=Decimal(1)),
        entry("b", lab="openai", model="y", cost=Decimal(3)),
        entry("c", lab=None, model=None, state="refused", cost=None, input=None, output=None),
        entry("d", lab="google", model="x", cost=Decimal(1)),
    ]
    found = costs(stored(tmp_path, rows), ("lab", "model"))
    assert [(group.names, group.cost) for group in found] == [
        (("openai", "y"), Decimal(3)),
        (("google", "x"), Decimal(1)),
        (("openai", "x"), Decimal(1)),
        ((None, None), None),
    ]


def test_by_tag_a_call_counts_once_for_each_of_its_tags(tmp_path: Path) -> None:
    rows = [
        entry("a", tags=("x", "y", "x"), cost=Decimal(1)),
        entry("b", tags=("x",), cost=Decimal(2)),
        entry("c", cost=Decimal(4)),
    ]
    store = stored(tmp_path, rows)
    found = {group.names: (group.calls, group.cost) for group in costs(store, ("tag",))}
    assert found == {
        ("x",): (2, Decimal(3)),
        ("y",): (1, Decimal(1)),
        (None,): (1, Decimal(4)),
    }
    (both,) = costs(store, only={"tag": ["x", "y"]})
    assert both.calls == 2


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("tier", "smart", 2),
        ("lab", "google", 1),
        ("key", "bob", 1),
        ("day", "2026-10-26", 3),
        ("day", "2026-10-27", 0),
        ("model", "'; DROP TABLE entries; --", 0),
    ],
)
def test_only_keeps_calls_with_a_name(tmp_path: Path, name: str, value: str, ids: int) -> None:
    rows = [entry("a"), entry("b", tier="smart", key="bob"), entry("c", tier="smart", lab="google")]
    (total,) = costs(stored(tmp_path, rows), only={name: [value]})
    assert total.calls == ids


def test_since_is_included_and_until_is_not(tmp_path: Path) -> None:
    store = stored(tmp_path, [entry(str(second), at=float(second)) for second in range(10)])
    assert costs(store, since=3.0, until=7.0)[0].calls == 4
    assert costs(store, since=3.0)[0].calls == 7
    assert costs(store, until=7.0)[0].calls == 7


def test_what_it_cannot_group_by(tmp_path: Path) -> None:
    store = stored(tmp_path, [])
    with pytest.raises(ValueError, match="colour: it is one of tier, lab,"):
        costs(store, ("tier", "colour"))
    with pytest.raises(ValueError, match="colour"):
        costs(store, only={"colour": ["red"]})


def test_days_in_berlin_have_23_24_and_25_hours(tmp_path: Path) -> None:
    """Clocks go forward on 29 March and back on 25 October 2026 (EU directive 2000/84/EC)."""
    hours = [
        *range(int(at("2026-03-28T00:00Z")), int(at("2026-03-31T00:00Z")), 3600),
        *range(int(at("2026-10-24T00:00Z")), int(at("2026-10-27T00:00Z")), 3600),
    ]
    store = stored(tmp_path, [entry(str(hour), at=hour + 1799.9) for hour in hours])
    found = {group.names[0]: group.calls for group in costs(store, ("day",), zone=BERLIN)}
    assert found == {
        "2026-03-28": 23,  # from 01:00 on
        "2026-03-29": 23,
        "2026-03-30": 24,
        "2026-03-31": 2,
        "2026-10-24": 22,  # from 02:00 on
        "2026-10-25": 25,
        "2026-10-26": 24,
        "2026-10-27": 1,
    }
    assert list(found) == sorted(map(str, found))


@pytest.mark.parametrize(
    ("zone", "last", "first"),
    [
        ("UTC", "2026-10-25T23:59:59.999Z", "2026-10-26T00:00Z"),
        ("Europe/Berlin", "2026-10-25T22:59:59.999Z", "2026-10-25T23:00Z"),
        ("Asia/Kathmandu", "2026-10-25T18:14:59.999Z", "2026-10-25T18:15Z"),
        ("Australia/Lord_Howe", "2026-10-25T12:59:59.999Z", "2026-10-25T13:00Z"),
        ("America/St_Johns", "2026-10-26T02:29:59.999Z", "2026-10-26T02:30Z"),
        ("Pacific/Kiritimati", "2026-10-25T09:59:59.999Z", "2026-10-25T10:00Z"),
    ],
)
def test_midnight_is_exact_in_every_zone(tmp_path: Path, zone: str, last: str, first: str) -> None:
    store = stored(tmp_path, [entry("last", at=at(last)), entry("first", at=at(first))])
    found = costs(store, ("day",), zone=ZoneInfo(zone))
    assert [group.names[0] for group in found] == ["2026-10-25", "2026-10-26"]


NAMES = st.sampled_from([None, "a", "b", "c"])
COUNT = st.none() | st.integers(0, 2**40)
ENTRIES = st.lists(
    st.builds(
        entry,
        id=st.uuids().map(str),
        at=st.floats(1_700_000_000, 1_900_000_000),
        key=st.sampled_from(["alice", "bob"]),
        state=st.sampled_from(
            ["settled", "estimated", "aborted", "failed", "refused", "cache_hit", "unknown_crash"]
        ),
        lab=NAMES,
        tier=NAMES,
        provider=NAMES,
        model=NAMES,
        input=COUNT,
        cache_read=COUNT,
        cache_write=COUNT,
        output=COUNT,
        reasoning=COUNT,
        cost=st.none() | st.decimals(0, 10**6, places=12),
    ),
    max_size=30,
)
COUNTS = ("calls", "cached", "failed", "unknown")
SUMS = ("input", "cache_read", "cache_write", "output", "reasoning", "cost")


@given(
    rows=ENTRIES,
    by=st.lists(st.sampled_from([name for name in BY if name != "tag"]), unique=True),
    zone=st.sampled_from([UTC, BERLIN, ZoneInfo("America/St_Johns")]),
)
def test_the_sums_of_any_grouping_are_the_total(
    rows: list[Entry], by: list[str], zone: ZoneInfo
) -> None:
    with TemporaryDirectory() as folder:
        store = stored(Path(folder), rows)
        groups, (total,) = costs(store, by, zone=zone), costs(store)
    assert len({group.names for group in groups}) == len(groups)
    assert total.calls == len(rows)
    for name in COUNTS:
        assert sum(getattr(group, name) for group in groups) == getattr(total, name)
    for name in SUMS:
        known = [value for group in groups if (value := getattr(group, name)) is not None]
        assert (sum(known) if known else None) == getattr(total, name)
        # Of an answer from the cache only the cost is known: it is what it says, else nothing.
        hits = [row for row in rows if row.state == "cache_hit" and name == "cost"]
        used = [row for row in rows if row.state != "cache_hit"] + hits
        said = [value for row in used if (value := getattr(row, name)) is not None]
        assert (sum(said) if said or hits else None) == getattr(total, name)
