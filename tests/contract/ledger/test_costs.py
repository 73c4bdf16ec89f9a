"""Every ledger store returns exact sums, and never counts an unknown cost as zero."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.ledger_rows import FinalRow, RepriceRow, Row
from gateway.ledger.query import GROUP_BY_NAMES, QueryGroup
from gateway.ledger.sql_store import SqlStore
from tests.contract.ledger.conftest import fed
from tests.ledger.rows import entry, reprice

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_group_adds_up_what_its_calls_used(store: SqlStore, folder: Path) -> None:
    rows = [
        entry(
            "a",
            attempts=2,
            cost=Decimal("0.10"),
            wasted=Decimal("0.04"),
            estimate=Decimal("0.01"),
            baseline=Decimal("0.50"),
            reserved=Decimal(9),
            input=1,
            cache_read=10,
            cache_write=100,
            reasoning=4,
        ),
        entry("b", cost=Decimal("0.20"), wasted=Decimal(0), input=2, cache_read=20, output=None),
        entry("c", state="cache_hit", cost=None, input=1_000, baseline=Decimal(2), output=1_000),
        entry(
            "d",
            state="failed",
            cost=Decimal("0.03"),
            wasted=Decimal("0.03"),
            input=None,
            output=None,
        ),
        entry("e", state="refused", cost=None, input=None, output=None, status=429),
        entry("f", state="unknown_crash", cost=None, reserved=Decimal(3), input=None, output=None),
        entry("g", state="aborted", cost=None, baseline=Decimal(7), input=None, output=5),
        entry("h", attempts=2, cost=Decimal(1), reserved=Decimal("0.5"), input=None, output=None),
        entry("i", state="failed", cost=None, input=None, output=None),
        entry("j", state="aborted", cache="hit", cost=Decimal(0), wasted=Decimal(0), input=500),
    ]
    assert fed(store, folder, rows).sum_costs(("tier",)) == [
        QueryGroup(
            names=("fast",),
            calls=10,
            cached=1,
            failed=4,
            input=3,
            cache_read=30,
            cache_write=100,
            output=35,
            reasoning=4,
            cost=Decimal("1.33"),
            wasted=Decimal("0.07"),
            estimate=Decimal("0.01"),
            baseline=Decimal("2.50"),  # of a and c: the cost of g is not known
            saved=Decimal("2.40"),  # of these: the others have no baseline
            reserved=Decimal("12.5"),  # of f and h, and beyond the estimate of a
            unknown=4,  # f and g, what h tried before, and i
            retried=2,  # a and h
        )
    ]


def test_a_value_that_no_call_of_a_group_has_is_unknown(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", tier="fast", cost=None, input=None, output=None),
        entry("b", tier="smart", state="cache_hit", cost=None),
        entry("c", tier="reasoning", state="refused", cost=None, input=None, output=None),
    ]
    sums = {group.names[0]: group for group in fed(store, folder, rows).sum_costs(["tier"])}
    assert (sums["fast"].cost, sums["fast"].unknown, sums["fast"].input) == (None, 1, None)
    assert (sums["smart"].cost, sums["smart"].unknown) == (Decimal(0), 0)
    assert (sums["smart"].input, sums["smart"].output) == (None, None)
    assert (sums["reasoning"].cost, sums["reasoning"].unknown) == (None, 0)


def test_an_empty_ledger_has_one_empty_sum_and_no_groups(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [])
    (total,) = store.sum_costs()
    assert (total.names, total.calls, total.cost, total.input) == ((), 0, None, None)
    assert store.sum_costs(["tier"]) == []


def test_sums_are_exact_beyond_floats_and_28_digits(store: SqlStore, folder: Path) -> None:
    small = [entry(str(number), cost=Decimal("0.000000000001")) for number in range(10)]
    tenth = [entry(f"t{number}", cost=Decimal("0.1")) for number in range(3)]
    large = entry("large", cost=Decimal("99999999999999999999.0"))
    (total,) = fed(store, folder, [large, *tenth, *small]).sum_costs()
    assert total.cost == Decimal("99999999999999999999.300000000010")
    assert str(total.cost) == "99999999999999999999.300000000010"


def test_sums_of_many_calls_are_exact(store: SqlStore, folder: Path) -> None:
    rows = [
        entry(f"{n}", cost=Decimal(n).scaleb(-12), baseline=Decimal(1) if n % 2 else None)
        for n in range(2_500)
    ]
    (total,) = fed(store, folder, rows).sum_costs()
    assert total.cost == Decimal(sum(range(2_500))).scaleb(-12)
    assert total.saved == 1_250 - Decimal(sum(range(1, 2_500, 2))).scaleb(-12)


@pytest.mark.parametrize("calls", [999, 1000, 1001, 2000])
def test_sums_count_every_call_around_the_batch_size(
    store: SqlStore, folder: Path, calls: int
) -> None:
    """The store sums calls in batches; a group may end exactly where a batch does."""
    rows = [entry(f"c{at}", cost=Decimal("0.001")) for at in range(calls)]
    (total,) = fed(store, folder, rows).sum_costs()
    assert (total.calls, total.cost) == (calls, Decimal(calls) / 1000)


def test_sums_group_by_several_names_and_calls_without_a_name(
    store: SqlStore, folder: Path
) -> None:
    rows = [
        entry("a", lab="openai", model="x", cost=Decimal(1)),
        entry("b", lab="openai", model="y", cost=Decimal(3)),
        entry("c", lab=None, model=None, state="refused", cost=None, input=None, output=None),
        entry("d", lab="google", model="x", cost=Decimal(1)),
    ]
    sums = fed(store, folder, rows).sum_costs(("lab", "model"))
    assert [(group.names, group.cost) for group in sums] == [
        (("openai", "y"), Decimal(3)),
        (("google", "x"), Decimal(1)),
        (("openai", "x"), Decimal(1)),
        ((None, None), None),
    ]


def test_sums_group_and_filter_by_tenant(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", tenant="acme", key="x", cost=Decimal(1)),
        entry("b", tenant="acme", key="y", cost=Decimal(2)),
        entry("c", tenant="other", key="x", cost=Decimal(4)),
    ]
    filled = fed(store, folder, rows)
    sums = [(group.names, group.cost) for group in filled.sum_costs(("tenant",))]
    assert sums == [(("other",), Decimal(4)), (("acme",), Decimal(3))]
    groups = filled.sum_costs(("tenant", "key"), only={"tenant": ["acme"]})
    assert [group.names for group in groups] == [("acme", "y"), ("acme", "x")]


def test_sums_group_and_filter_by_team(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", tenant="acme", team="web", cost=Decimal(1)),
        entry("b", tenant="acme", team="web", cost=Decimal(2)),
        entry("c", tenant="acme", cost=Decimal(4)),
        entry("d", tenant="other", team="web", cost=Decimal(8)),
    ]
    filled = fed(store, folder, rows)
    assert [(group.names, group.cost) for group in filled.sum_costs(("team",))] == [
        (("web",), Decimal(11)),
        ((None,), Decimal(4)),
    ]
    groups = filled.sum_costs(("tenant", "team"), only={"team": ["web"]})
    assert [group.names for group in groups] == [("other", "web"), ("acme", "web")]


def test_sums_group_and_filter_by_end_user(store: SqlStore, folder: Path) -> None:
    """In SQL the column is `end_user`: in PostgreSQL `user` is the role of the connection."""
    rows = [
        entry("a", end_user="u1", cost=Decimal(1)),
        entry("b", end_user="u1", key="x", cost=Decimal(2)),
        entry("c", end_user="u2", cost=Decimal(4)),
        entry("d", cost=Decimal(8)),
    ]
    filled = fed(store, folder, rows)
    assert [(group.names, group.cost) for group in filled.sum_costs(("user",))] == [
        ((None,), Decimal(8)),
        (("u2",), Decimal(4)),
        (("u1",), Decimal(3)),
    ]
    (group,) = filled.sum_costs(("key", "user"), only={"user": ["u1"], "key": ["x"]})
    assert group.names == ("x", "u1")
    assert [row.id for row in filled.read_entries(only={"user": ["u1"]})] == ["a", "b"]
    (times,) = filled.measure_latency(("user",), only={"user": ["u2"]})
    assert times.names == ("u2",)


def test_a_sum_by_tag_counts_a_call_once_for_each_of_its_tags(
    store: SqlStore, folder: Path
) -> None:
    rows = [
        entry("a", tags=("x", "y", "x"), cost=Decimal(1)),
        entry("b", tags=("x",), cost=Decimal(2)),
        entry("c", cost=Decimal(4)),
    ]
    fed(store, folder, rows)
    sums = {group.names: (group.calls, group.cost) for group in store.sum_costs(("tag",))}
    assert sums == {
        ("x",): (2, Decimal(3)),
        ("y",): (1, Decimal(1)),
        (None,): (1, Decimal(4)),
    }
    (both,) = store.sum_costs(only={"tag": ["x", "y"]})
    assert both.calls == 2


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("tier", "smart", 2),
        ("lab", "google", 1),
        ("key", "bob", 1),
        ("day", "2026-10-26", 3),
        ("day", "2026-10-27", 0),
        ("day", "no day", 0),
        ("id", "a", 1),
        ("state", "settled", 3),
        ("served", "x", 0),
        ("model", "'; DROP TABLE entries; --", 0),
    ],
)
def test_only_filters_calls_by_each_name(
    store: SqlStore, folder: Path, name: str, value: str, ids: int
) -> None:
    rows = [entry("a"), entry("b", tier="smart", key="bob"), entry("c", tier="smart", lab="google")]
    (total,) = fed(store, folder, rows).sum_costs(only={name: [value]})
    assert total.calls == ids


def test_since_is_included_and_until_is_not(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry(str(second), at=float(second)) for second in range(10)])
    assert store.sum_costs(since=3.0, until=7.0)[0].calls == 4
    assert store.sum_costs(since=3.0)[0].calls == 7
    assert store.sum_costs(until=7.0)[0].calls == 7


def test_an_unknown_group_name_is_an_error(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [])
    with pytest.raises(ValueError, match="colour: it is one of tier, lab,"):
        store.sum_costs(("tier", "colour"))
    with pytest.raises(ValueError, match="colour"):
        store.sum_costs(only={"colour": ["red"]})
    with pytest.raises(ValueError, match="cannot group by id"):
        store.sum_costs(["id"])


def test_sums_use_the_latest_price_of_a_call(store: SqlStore, folder: Path) -> None:
    rows: list[Row] = [
        entry("a", cost=None, reserved=Decimal(9)),
        entry("b", cost=Decimal(1), baseline=Decimal(2), estimate=Decimal(1)),
        reprice("a", cost=Decimal("0.5"), estimate=Decimal("0.25"), baseline=Decimal(5)),
        reprice("b", cost=None),
    ]
    (total,) = fed(store, folder, rows).sum_costs()
    assert (total.cost, total.estimate, total.baseline, total.saved, total.unknown) == (
        Decimal("0.5"),
        Decimal("0.25"),
        Decimal(5),
        Decimal("4.5"),
        1,
    )
    assert total.reserved is None  # the cost of a is known now


def test_days_in_berlin_have_23_24_and_25_hours(store: SqlStore, folder: Path) -> None:
    """Clocks go forward on 29 March and back on 25 October 2026 (EU directive 2000/84/EC)."""
    hours = [
        *range(int(at("2026-03-28T00:00Z")), int(at("2026-03-31T00:00Z")), 3600),
        *range(int(at("2026-10-24T00:00Z")), int(at("2026-10-27T00:00Z")), 3600),
    ]
    fed(store, folder, [entry(str(hour), at=hour + 1799.9) for hour in hours])
    sums = {group.names[0]: group.calls for group in store.sum_costs(("day",), zone=BERLIN)}
    assert sums == {
        "2026-03-28": 23,  # from 01:00 on
        "2026-03-29": 23,
        "2026-03-30": 24,
        "2026-03-31": 2,
        "2026-10-24": 22,  # from 02:00 on
        "2026-10-25": 25,
        "2026-10-26": 24,
        "2026-10-27": 1,
    }
    assert list(sums) == sorted(map(str, sums))


def test_a_day_filter_means_the_day_in_the_zone(store: SqlStore, folder: Path) -> None:
    rows = [entry(str(n), at=at("2026-10-24T22:00Z") + 1800 * n) for n in range(-1, 51)]
    only = {"day": ["2026-10-25"]}
    (total,) = fed(store, folder, rows).sum_costs(zone=BERLIN, only=only)
    assert total.calls == 50
    (group,) = store.sum_costs(["day"], zone=BERLIN, only=only)
    assert (group.names, group.calls) == (("2026-10-25",), 50)


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
def test_midnight_is_exact_in_every_zone(
    store: SqlStore, folder: Path, zone: str, last: str, first: str
) -> None:
    fed(store, folder, [entry("last", at=at(last)), entry("first", at=at(first))])
    sums = store.sum_costs(("day",), zone=ZoneInfo(zone))
    assert [group.names[0] for group in sums] == ["2026-10-25", "2026-10-26"]


NAMES = st.sampled_from([None, "a", "b", "c"])
COUNT = st.none() | st.integers(0, 2**40)
USD = st.none() | st.decimals(0, 10**6, places=12) | st.just(Decimal(0))
ZONES = [UTC, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Africa/Cairo")]
CHANGES = [  # of clocks in each zone: the days around them are the likely errors
    at("2026-03-29T01:00Z"),
    at("2026-10-25T01:00Z"),
    at("2026-03-08T05:30Z"),
    at("2026-11-01T04:30Z"),
    at("2026-04-23T22:00Z"),
    at("2026-10-29T21:00Z"),
]
MOMENT = (
    st.floats(1_700_000_000, 1_900_000_000)
    | st.builds(
        lambda moment, hours: moment + 3600 * hours,
        st.sampled_from(CHANGES),
        st.floats(-30, 30),
    )
).map(lambda moment: round(moment, 3))  # calendars have microseconds at most
ENTRIES = st.lists(
    st.builds(
        entry,
        id=st.uuids().map(str),
        at=MOMENT,
        key=st.sampled_from(["alice", "bob"]),
        tags=st.lists(st.sampled_from(["x", "y", "z"])).map(tuple),
        guards=st.lists(st.sampled_from(["x", "no images"]), unique=True).map(tuple),
        state=st.sampled_from(
            ["settled", "estimated", "aborted", "failed", "refused", "cache_hit", "unknown_crash"]
        ),
        cache=st.sampled_from(["off", "hit"]),
        lab=NAMES,
        tier=NAMES,
        model=NAMES,
        rule=NAMES,
        problem=NAMES,
        attempts=st.integers(0, 3),
        input=COUNT,
        cache_read=COUNT,
        cache_write=COUNT,
        output=COUNT,
        reasoning=COUNT,
        cost=USD,
        wasted=USD,
        estimate=USD,
        baseline=USD,
        reserved=USD,
    ),
    max_size=30,
)
TOKENS = ("input", "cache_read", "cache_write", "output", "reasoning")


def plain(row: FinalRow, price: RepriceRow | None) -> dict[str, Decimal | int | None]:
    """Compute what one call adds to its group, from the meaning of the columns."""
    hit, failed = row.state == "cache_hit", row.state in {"failed", "refused"}
    cost, estimate, baseline = (
        (price.cost, price.estimate, price.baseline)
        if price
        else (row.cost, row.estimate, row.baseline)
    )
    if hit and cost is None:
        cost = Decimal(0)
    recorded = hit or row.cache == "hit"
    values = {name: None if recorded else getattr(row, name) for name in TOKENS}
    some = any(getattr(row, name) for name in TOKENS)
    answered = row.state in {"settled", "estimated", "aborted"}
    unknown = cost is None and (
        answered or row.state == "unknown_crash" or (row.state == "failed" and some)
    )
    if row.wasted is None and row.state not in {"cache_hit", "refused"}:
        unknown = unknown or row.attempts > answered
    return values | {
        "calls": 1,
        "cached": int(hit),
        "failed": int(failed or row.state == "unknown_crash"),
        "unknown": int(unknown),
        "cost": cost,
        "wasted": row.wasted,
        "estimate": estimate,
        "baseline": None if cost is None else baseline,
        "saved": None if cost is None or baseline is None else baseline - cost,
        "reserved": row.reserved if unknown or price is None else None,
    }


def names(row: FinalRow, by: Iterable[str], zone: ZoneInfo) -> list[tuple[str | None, ...]]:
    """Return the groups that a call belongs to."""
    groups: list[tuple[str | None, ...]] = [()]
    for name in by:
        values: list[str | None]
        if name == "day":
            values = [datetime.fromtimestamp(row.at, zone).date().isoformat()]
        elif name == "tag":
            values = [*dict.fromkeys(row.tags)] or [None]
        elif name == "guard":
            values = [*row.guards] or [None]
        elif name == "user":
            values = [row.end_user]
        else:
            values = [getattr(row, name)]
        groups = [(*group, value) for group in groups for value in values]
    return groups


FOLDERS = count()


TURNS = st.sampled_from(  # changes of clocks, each in its zone
    [
        (ZoneInfo("Europe/Berlin"), at("2026-03-29T01:00Z")),
        (ZoneInfo("Europe/Berlin"), at("2026-10-25T01:00Z")),
        (ZoneInfo("America/St_Johns"), at("2026-03-08T05:30Z")),
        (ZoneInfo("America/St_Johns"), at("2026-11-01T04:30Z")),
        (ZoneInfo("Africa/Cairo"), at("2026-04-23T22:00Z")),  # a day without a midnight
        (ZoneInfo("Africa/Cairo"), at("2026-10-29T21:00Z")),  # back over midnight
        (ZoneInfo("America/Havana"), at("2026-11-01T05:00Z")),  # a day with two midnights
        (ZoneInfo("Australia/Lord_Howe"), at("2026-04-04T15:00Z")),  # by half an hour
    ]
)


@given(
    turn=TURNS,
    near=st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-7_200_000, 7_200_000), USD),
        min_size=2,
        max_size=12,
    ),
    more=st.sampled_from([[], ["tier"]]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_days_with_a_clock_change_add_up(
    store: SqlStore,
    tmp_path: Path,
    turn: tuple[ZoneInfo, float],
    near: list[tuple[int, int, Decimal | None]],
    more: list[str],
) -> None:
    """Calls near the midnights around a clock change count on the day that the clock showed."""
    zone, change = turn
    store.prune(1e10)
    folder = tmp_path / f"{next(FOLDERS)}"
    folder.mkdir()
    days = [datetime.fromtimestamp(change, zone).date() + timedelta(days) for days, _, _ in near]
    rows = [
        entry(
            f"{n}",
            at=datetime(*day.timetuple()[:3], tzinfo=zone).timestamp() + off / 1000,
            cost=cost,
        )
        for n, (day, (_, off, cost)) in enumerate(zip(days, near, strict=True))
    ]
    rows.append(entry("first", at=change - 5 * 86_400, cost=None))
    shown: dict[str, list[FinalRow]] = defaultdict(list)
    for row in rows:
        shown[datetime.fromtimestamp(row.at, zone).date().isoformat()].append(row)
    sums = fed(store, folder, rows).sum_costs(["day", *more], zone=zone)
    assert {group.names[0]: (group.calls, group.cost) for group in sums} == {
        day: (len(ones), _sum(group.cost for group in ones)) for day, ones in shown.items()
    }
    (total,) = store.sum_costs(zone=zone)
    assert (total.calls, total.cost) == (len(rows), _sum(group.cost for group in rows))


def _sum(costs: Iterable[Decimal | None]) -> Decimal | None:
    costs_in_usd = [cost for cost in costs if cost is not None]
    return sum(costs_in_usd, Decimal(0)) if costs_in_usd else None


@given(
    rows=ENTRIES,
    by=st.lists(st.sampled_from(GROUP_BY_NAMES), unique=True, max_size=4),
    zone=st.sampled_from(ZONES),
    prices=st.lists(st.builds(reprice, cost=USD, estimate=USD, baseline=USD), max_size=5),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sums_of_any_grouping_are_those_of_its_calls(
    store: SqlStore,
    tmp_path: Path,
    rows: list[FinalRow],
    by: list[str],
    zone: ZoneInfo,
    prices: list[RepriceRow],
) -> None:
    """Groups add up to the total, except by tag and guard, where a call counts once for each."""
    store.prune(1e10)
    folder = tmp_path / f"{next(FOLDERS)}"
    folder.mkdir()
    later = {row.id: price for row, price in zip(rows, prices, strict=False)}
    fed(
        store,
        folder,
        [
            *rows,
            *(
                reprice(id, cost=p.cost, estimate=p.estimate, baseline=p.baseline)
                for id, p in later.items()
            ),
        ],
    )
    expected: dict[tuple[str | None, ...], dict[str, Decimal | int | None]] = defaultdict(dict)
    with localcontext(Context(prec=60)):
        for row in rows:
            for place in names(row, by, zone):
                sums = expected[place]
                for name, value in plain(row, later.get(row.id)).items():
                    old = sums.get(name)
                    sums[name] = old if value is None else value if old is None else old + value
    groups = store.sum_costs(by, zone=zone)
    if not (rows or by):
        assert [group.calls for group in groups] == [0]
        return
    assert len({group.names for group in groups}) == len(groups)
    assert {
        group.names: {name: getattr(group, name) for name in expected[group.names]}
        for group in groups
    } == expected
