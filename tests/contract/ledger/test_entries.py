"""Every ledger store lets a follower read each row, whenever the follower begins."""

from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import Row
from gateway.ledger.call_order import SORT_NAMES, CallOrder, CallSearch
from gateway.ledger.errors import QueryTooLongError, StoreError
from gateway.ledger.schema import ENTRY_COLUMNS
from gateway.ledger.sql_store import SqlStore
from tests.contract.ledger.conftest import Make, ask, fed
from tests.ledger.rows import attempt, entry, feedback, reprice


def ids(store: SqlStore, **options: object) -> list[str]:
    return [row.id for row in store.read_entries(**options)]  # type: ignore[arg-type]  # any of them


def test_a_follower_reads_rows_in_pages_in_the_order_of_their_arrival(
    store: SqlStore, folder: Path
) -> None:
    fed(store, folder, [entry(str(number), at=100.0 - number) for number in range(5)])
    first = store.read_entries(limit=2)
    assert [row.id for row in first] == ["0", "1"]
    second = store.read_entries(after_cursor=first[-1].cursor, limit=2)
    assert [row.id for row in second] == ["2", "3"]
    (last,) = store.read_entries(after_cursor=second[-1].cursor, limit=2)
    assert last.id == "4"
    assert store.read_entries(after_cursor=last.cursor) == []
    # A call that was received first but is fed last comes last.
    fed(store, folder, [entry("late", at=1.0)], "b")
    assert ids(store, after_cursor=last.cursor) == ["late"]


def test_a_follower_reads_a_changed_row_again(store: SqlStore, folder: Path) -> None:
    crashed = [entry(id, state="unknown_crash", cost=None) for id in ("b", "d")]
    fed(store, folder, [entry("a", cost=None), *crashed, entry("c")])
    *_, last = store.read_entries()
    fed(store, folder, [entry("b", cost=Decimal(2)), reprice("a", cost=Decimal(1))], "b")
    again = store.read_entries(after_cursor=last.cursor)
    assert [(row.id, row.state, row.cost) for row in again] == [
        ("b", "settled", Decimal(2)),
        ("a", "settled", Decimal(1)),
    ]
    # Rows that change nothing do not come again: an older price, another recovery.
    fed(store, folder, [reprice("a", at=1.0), *crashed], "c")
    assert store.read_entries(after_cursor=again[-1].cursor) == []
    assert sorted(ids(store)) == ["a", "b", "c", "d"]


def test_rows_are_paged_from_the_newest_call_and_gives_a_cursor_to_follow(
    store: SqlStore, folder: Path
) -> None:
    """Calls stay in the order in which they were received, even those fed late or twice."""
    fed(store, folder, [entry(name, at=at) for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0))])
    fed(store, folder, [entry("b2", at=2.0, tier="smart"), reprice("a")], "b")
    first = store.read_ordered(limit=2)
    assert [row.id for row in first.rows] == ["c", "b2"]
    assert [row.id for row in store.read_ordered(before_id="b2", limit=2).rows] == ["b", "a"]
    assert store.read_ordered(before_id="a").rows == []
    assert [row.id for row in store.read_ordered(only={"tier": ["smart"]}, until=3.0).rows] == [
        "b2"
    ]
    assert store.read_entries(after_cursor=first.cursor) == []
    fed(store, folder, [entry("d", at=0.5), reprice("c", at=9e9)], "c")
    assert ids(store, after_cursor=first.cursor) == ["d", "c"]
    with pytest.raises(ValueError, match="no such call: start without one"):
        store.read_ordered(before_id="nobody")
    with pytest.raises(ValueError, match="colour"):
        store.read_ordered(only={"colour": ["red"]})


def test_an_empty_store_gives_a_cursor_to_follow(store: SqlStore, folder: Path) -> None:
    """A follower that begins with an empty store then misses nothing."""
    none = store.read_ordered()
    assert none.rows == []
    fed(store, folder, [entry()])
    assert ids(store, after_cursor=none.cursor) == ["call-1"]


def test_only_filters_rows_by_status_and_conversation(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", status=200, conversation="x"),
        entry("b", status=429, conversation="x"),
        entry("c", status=None),
    ]
    fed(store, folder, rows)
    assert ids(store, only={"status": ["429", "503"]}) == ["b"]
    assert ids(store, only={"status": ["200"], "conversation": ["x", "y"]}) == ["a"]
    assert ids(store, only={"status": ["4"]}) == []
    assert [one.calls for one in store.sum_costs(("state",), only={"status": ["200", "429"]})] == [
        2
    ]


def test_the_store_keeps_the_similarity_of_a_near_question(store: SqlStore, folder: Path) -> None:
    rows = [entry("a", state="cache_hit", cache="hit", near=0.75), entry("b")]
    fed(store, folder, rows)
    assert [(row.id, row.near) for row in store.read_entries()] == [("a", 0.75), ("b", None)]


def test_the_store_keeps_the_arm_of_a_call_and_groups_by_it(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", arm="canary:in"),
        entry("b", arm="canary:out"),
        entry("c"),
        entry("d", arm="canary:in"),
    ]
    fed(store, folder, rows)
    assert [row.arm for row in store.read_entries()] == [
        "canary:in",
        "canary:out",
        None,
        "canary:in",
    ]
    groups = {group.names[0]: group.calls for group in store.sum_costs(("arm",))}
    assert groups == {"canary:in": 2, "canary:out": 1, None: 1}
    assert ids(store, only={"arm": ["canary:out"]}) == ["b"]


def test_the_store_keeps_the_guards_of_a_call_and_groups_by_them(
    store: SqlStore, folder: Path
) -> None:
    """A call counts once for each guard, and once for each pair of guard and tag."""
    rows = [
        entry("a", guards=("cheap", "no images"), tags=("x", "y")),
        entry("b", guards=("cheap",)),
        entry("c", tags=("x",)),
    ]
    fed(store, folder, rows)
    assert [row.guards for row in store.read_entries()] == [("cheap", "no images"), ("cheap",), ()]
    groups = {group.names[0]: group.calls for group in store.sum_costs(("guard",))}
    assert groups == {"cheap": 2, "no images": 1, None: 1}
    pairs = {group.names: group.calls for group in store.sum_costs(("guard", "tag"))}
    assert pairs == {
        ("cheap", "x"): 1, ("cheap", "y"): 1, ("no images", "x"): 1, ("no images", "y"): 1,
        ("cheap", None): 1, (None, "x"): 1,
    }  # fmt: skip
    assert ids(store, only={"guard": ["no images", "none"]}) == ["a"]


def test_the_same_filters_select_rows_and_sums(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", at=1.0, tags=("x", "y")),
        entry("b", at=2.0, tier="smart", tags=("y",)),
        entry("c", at=3.0, state="cache_hit", cache="hit"),
    ]
    fed(store, folder, rows)
    assert ids(store, since=2.0) == ["b", "c"]
    assert ids(store, until=2.0) == ["a"]
    assert ids(store, only={"tag": ["y", "z"]}) == ["a", "b"]
    assert ids(store, only={"tier": ["fast"], "state": ["cache_hit"]}) == ["c"]
    assert ids(store, only={"id": ["b"]}) == ["b"]
    assert ids(store, only={"day": ["1970-01-01"]}, limit=1) == ["a"]
    west = ZoneInfo("America/New_York")
    assert ids(store, only={"day": ["1970-01-01"]}, zone=west) == []
    assert ids(store, only={"day": ["1969-12-31"]}, zone=west) == ["a", "b", "c"]
    assert ids(store, only={"tier": []}) == []
    with pytest.raises(ValueError, match="colour"):
        store.read_entries(only={"colour": ["red"]})


def test_a_row_from_the_cache_has_the_tokens_of_the_recorded_answer(
    store: SqlStore, folder: Path
) -> None:
    """Sums leave these tokens out, because nobody billed them."""
    fed(store, folder, [entry("a", state="cache_hit", usage="recording", cost=Decimal(0))])
    (row,) = store.read_entries()
    assert (row.usage, row.input, row.output) == ("recording", 12, 30)
    assert store.sum_costs()[0].input is None


@pytest.mark.parametrize("cursor", ["", "1", "x.1", "{}.", "{}.-1", "{}.1.5", "{}.²", "1.{}"])
def test_a_cursor_of_another_store_is_refused(make: Make, folder: Path, cursor: str) -> None:
    """Row numbers of another store mean other rows, so a follower would miss some."""
    store, other_store = make(), make()
    fed(store, folder, [entry()])
    (row,) = store.read_entries()
    mark = row.cursor.partition(".")[0]
    with pytest.raises(ValueError, match="no such cursor: start without one"):
        store.read_entries(after_cursor=cursor.format(mark))
    with pytest.raises(ValueError, match="no such cursor"):
        other_store.read_entries(after_cursor=row.cursor)


def test_row_numbers_of_pruned_rows_are_not_used_again(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a"), entry("b")])
    *_, last = store.read_entries()
    assert store.prune(1e10) == 2
    fed(store, folder, [entry("c")], "b")
    assert ids(store, after_cursor=last.cursor) == ["c"]


def test_read_attempts_returns_the_attempts_of_a_call_in_order(
    store: SqlStore, folder: Path
) -> None:
    second = attempt(attempt=2, account="b", duration=0.5, input=3, output=4, reserved=Decimal(1))
    first = attempt(cost=Decimal("0.01"), estimate=Decimal("0.01"))
    fed(store, folder, [second, attempt("other"), first, entry()])
    assert store.read_attempts("call-1") == [first, second]
    third = attempt(attempt=3)
    fed(store, folder, [third], "b")
    assert store.read_attempts("call-1") == [first, second, third]
    assert store.read_attempts("nobody") == []


def test_read_unpriced_returns_a_row_until_it_has_a_price(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.sql_store._PAGE_ROWS", 2)
    priced = {"cost": Decimal(1), "baseline": Decimal(1)}
    rows = [
        *(entry(f"none-{number}", cost=None) for number in range(5)),
        entry("all", **priced),
        entry("no-baseline", cost=Decimal(1)),
        entry("hit", state="cache_hit", cost=Decimal(0)),
        entry("no-usage", cost=None, output=None),
        entry("units", cost=None, input=None, output=None, units={"page": Decimal(3)}),
        entry("priced-units", cost=Decimal(1), input=None, output=None, units={"page": Decimal(3)}),
        entry("other", cost=None, model="other"),
        entry("failed", state="failed", cost=Decimal(0), input=None, output=None),
        entry("failed-unknown", state="failed", cost=None, input=None, output=None),
    ]
    fed(store, folder, rows)
    results = []
    for number, row in enumerate(store.read_unpriced(only={"model": ["gpt-5-nano"]})):
        results.append(row.id)
        # A price that arrives during reading neither hides nor repeats a row.
        fed(store, folder, [reprice(row.id, cost=None)], f"price-{number}")
    assert results == [
        *(f"none-{number}" for number in range(5)),
        *("no-baseline", "hit", "units", "failed"),
    ]
    again = [row.id for row in store.read_unpriced()]
    fed(store, folder, [reprice(id, at=2e9, **priced) for id in again], "last")
    assert list(store.read_unpriced()) == []


COSTS = {
    *(name for name in ENTRY_COLUMNS if name != "basis"),
    *("time", "day", "repriced", "cost_usd", "baseline_usd", "saved", "unknown"),
}


def columns(store: SqlStore, view: str) -> list[str]:
    with store.open_reader() as base:
        return [column[0] for column in base.execute(f"SELECT * FROM {view}").description]  # noqa: S608 - of this test


def test_the_views_have_the_same_columns_in_every_store(store: SqlStore) -> None:
    """Dashboards of operators depend on these columns."""
    assert set(columns(store, "costs")) == COSTS
    assert set(columns(store, "attempts")) == {
        *("v", "id", "attempt", "at", "time", "day", "provider", "account", "model", "status"),
        *("problem", "duration", "input", "output", "cost", "cost_usd", "estimate", "reserved"),
    }
    assert columns(store, "days") == [
        *("day", "lab", "tier", "model", "calls", "cached", "failed", "unknown"),
        *("input", "cache_read", "cache_write", "output", "reasoning"),
        *("cost", "wasted", "estimate", "baseline", "saved"),
    ]


def test_the_last_feedback_on_a_call_counts(store: SqlStore, folder: Path) -> None:
    """The last feedback counts in any order, also if fed twice or before its call.

    A view shows only its own tenant's feedback.
    """
    last, other_store = (
        feedback("a", at=2.0, verdict=None, tier="smart", score=0.25),
        feedback("b", tenant="other"),
    )
    rows: list[Row] = [
        last,
        feedback("a", at=1.0, verdict="good"),
        entry("a", rule="mine", source="rule", confidence=0.5),
        entry("b"),
        other_store,
        feedback("gone"),
    ]
    fed(store, folder, rows)
    fed(store, folder, [last], "again")
    assert store.read_feedback(["a", "b", "c"]) == {"a": last, "b": other_store}
    assert store.read_feedback([]) == {}
    sql = "SELECT id, verdict, tier, score, given, source, rule, confidence FROM feedback"
    assert ask(store, sql) == [("a", None, "smart", 0.25, "fast", "rule", "mine", 0.5)]
    assert set(columns(store, "feedback")) == {
        *("v", "id", "at", "key", "tenant", "verdict", "tier", "score", "time", "day"),
        *("lab", "given", "model", "source", "rule", "confidence"),
    }


def test_the_costs_view_shows_unknown_costs_and_savings(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", cost=Decimal("0.5"), wasted=Decimal(0), baseline=Decimal("1.25")),
        entry("b", state="cache_hit", cost=None, baseline=Decimal(2)),
        entry("c", cost=None, baseline=Decimal(2), reserved=Decimal(3)),
        entry("d", state="refused", cost=None, input=None, output=None, attempts=0),
        entry("e", state="failed", cost=None, input=None, output=7, wasted=Decimal(0)),
        entry("f", state="unknown_crash", cost=None, input=None, output=None),
        entry("g", state="failed", cost=Decimal("0.5"), wasted=Decimal("0.5"), baseline=Decimal(0)),
        entry("h", attempts=2, cost=Decimal("0.5"), baseline=Decimal(1)),
        entry("i", state="failed", cost=Decimal("0.5"), wasted=Decimal("0.5")),
        entry("j", state="refused", cost=Decimal(0), attempts=0),
    ]
    fed(store, folder, rows)
    sql = "SELECT id, cost_usd, unknown, saved, reserved FROM costs ORDER BY id"
    results = [(*row[:4], row[4] and float(str(row[4]))) for row in ask(store, sql)]
    assert results == [
        ("a", 0.5, False, 0.75, None),
        ("b", 0.0, False, 2.0, None),
        ("c", None, True, None, 3.0),
        ("d", None, False, None, None),
        ("e", None, True, None, None),
        ("f", None, True, None, None),
        ("g", 0.5, False, -0.5, None),
        ("h", 0.5, True, 0.5, None),
        ("i", 0.5, False, None, None),  # no baseline
        ("j", 0.0, False, None, None),
    ]
    results = ask(store, "SELECT DISTINCT day, time FROM costs")
    assert [str(value)[:19] for value in results[0]] == ["2026-10-26", "2026-10-26 07:33:20"]
    assert ask(store, "SELECT count(*) FROM costs WHERE unknown") == [(4,)]


def test_the_days_view_adds_up_the_costs_view(store: SqlStore, folder: Path) -> None:
    rows: list[Row] = [
        entry("a", cost=Decimal("0.5"), wasted=Decimal("0.25"), baseline=Decimal(1)),
        entry("b", state="cache_hit", cost=None, baseline=Decimal(2)),
        entry("c", cost=None, baseline=Decimal(2)),
        entry(
            "d", state="failed", cost=Decimal("0.125"), wasted=Decimal("0.125"), baseline=Decimal(0)
        ),
        entry("e", at=1_793_000_000.0 + 86_400, lab=None, tier=None, model=None, state="refused"),
        reprice("a", cost=Decimal("0.75"), baseline=Decimal(1), estimate=Decimal("0.5")),
        attempt("a"),
    ]
    fed(store, folder, rows)
    first, second = ask(store, "SELECT * FROM days ORDER BY day")
    assert [str(name) for name in first[:4]] == ["2026-10-26", "openai", "fast", "gpt-5-nano"]
    assert first[4:8] == (4, 1, 1, 1)
    assert first[8:13] == (36, None, None, 90, None)
    assert first[13:] == (0.875, 0.375, 0.5, 3, 2.125)
    assert (str(second[0]), *second[1:4]) == ("2026-10-27", None, None, None)
    sql = "SELECT id, attempt, problem, cost_usd FROM attempts"
    assert ask(store, sql) == [("a", 1, "upstream_error", 0)]


def test_replay_reads_rows_in_order_of_time(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come in order of time, then of id, with their latest price, however they were fed."""
    monkeypatch.setattr("gateway.ledger.sql_store._PAGE_ROWS", 2)
    basis = DecisionRecord(user_tokens=3, signals={"words": 2}, target="a/b")
    rows: list[Row] = [
        entry("d", at=3.0),
        entry("b", at=1.0, key="bob", tags=("x",), basis=basis, cache_write_by={"5m": 1}),
        entry("a", at=2.0),
        entry("c", at=1.0, tools={"web_search": 1}),
    ]
    fed(store, folder, rows)
    fed(store, folder, [reprice("b", cost=Decimal("0.25"))], "later")
    results = list(store.read_replay_rows())
    assert [row.id for row in results] == ["b", "c", "a", "d"]
    assert (results[0].basis, results[0].cost, results[0].tags) == (basis, Decimal("0.25"), ("x",))
    assert (results[0].cache_write_by, results[1].tools) == ({"5m": 1}, {"web_search": 1})
    assert (results[1].basis, results[1].cost) == (None, entry().cost)
    assert store.count() == 4
    assert [row.id for row in store.read_replay_rows(since=2.0, until=3.0)] == ["a"]
    assert [row.id for row in store.read_replay_rows(only={"key": ["bob"], "tag": ["x"]})] == ["b"]
    assert store.count(since=2.0, only={"key": ["alice"]}) == 2
    with pytest.raises(ValueError, match="cannot group by"):
        next(store.read_replay_rows(only={"nonsense": ["x"]}))


def test_output_tokens_of_the_newest_answers_are_summed_by_lab_and_tier(
    store: SqlStore, folder: Path
) -> None:
    """Reasoning tokens count. Answers without a provider, or with unknown tokens, do not."""
    rows: list[Row] = [
        entry("old", at=1.0, output=1_000),
        entry("a", at=2.0, output=10, reasoning=5),
        entry("b", at=3.0, output=20, state="aborted"),
        entry("c", at=4.0, output=7, tier="smart", state="estimated"),
        entry("hit", at=5.0, state="cache_hit"),
        entry("shared", at=5.0, cache="hit"),
        entry("failed", at=5.0, state="failed"),
        entry("unknown", at=5.0, output=None),
        entry("empty", at=5.0, output=0),
        entry("vectors", at=5.0, tier=None),
    ]
    fed(store, folder, rows)
    assert store.sum_output_tokens(3) == [("openai", "fast", 2, 35), ("openai", "smart", 1, 7)]
    assert store.sum_output_tokens(9)[0] == ("openai", "fast", 3, 1_035)


SORTED = {
    "received": ["a", "b", "c", "d", "e"],
    "cost": ["b", "a", "d", "c", "e"],
    "duration": ["e", "d", "c", "b", "a"],
    "first_content": ["c", "d", "a", "b", "e"],
    "tokens": ["d", "c", "a", "e", "b"],
}
KNOWN = {"cost": 4, "first_content": 2, "tokens": 4}


@pytest.mark.parametrize("name", SORT_NAMES)
@pytest.mark.parametrize("descending", [False, True])
def test_rows_are_paged_in_any_order_with_the_unknown_last(
    store: SqlStore, folder: Path, name: str, *, descending: bool
) -> None:
    rows = [
        entry("a", at=1.0, cost=Decimal(2), duration=5.0),
        entry("b", at=2.0, cost=Decimal("1E-9"), duration=4.0, input=None, output=None),
        entry(
            "c", at=3.0, cost=Decimal(10), duration=3.0, first_content=0.1, cache_read=0, input=9
        ),
        entry("d", at=4.0, cost=Decimal(3), duration=2.0, first_content=0.2, input=1),
        entry("e", at=5.0, cost=None, duration=1.0, reasoning=7, output=None, input=90),
    ]
    fed(store, folder, rows)
    expected = SORTED[name]
    known = KNOWN.get(name, 5)
    if descending:
        expected = [*reversed(expected[:known]), *reversed(expected[known:])]
    order, listed, last = CallOrder(name, descending), list[str](), None
    while page := store.read_ordered(order=order, before_id=last, limit=2).rows:
        listed += [row.id for row in page]
        last = listed[-1]
    assert listed == expected


def test_a_repriced_call_is_sorted_by_its_new_cost(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a", cost=Decimal(1)), entry("b", cost=Decimal(2))])
    fed(store, folder, [reprice("a", cost=Decimal(3))], "b")
    rows = store.read_ordered(order=CallOrder("cost")).rows
    assert [row.id for row in rows] == ["a", "b"]


def test_a_search_finds_a_text_in_ids_names_and_errors(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("tg-Ann", key="website", model="gpt-5%nano", at=1.0),
        entry("tg-2", problem="upstream_timeout", conversation="c0ffee", end_user="u1", at=2.0),
        entry("tg-3", upstream_id="req_Zed", response_id="chatcmpl-9", asked="auto!", at=3.0),
    ]
    fed(store, folder, rows)
    for text, expected in {
        "ANN": ["tg-Ann"], "web": ["tg-Ann"], "5%n": ["tg-Ann"], "5_n": [], "timeout": ["tg-2"],
        "C0FFEE": ["tg-2"], "req_z": ["tg-3"], "chatcmpl-9": ["tg-3"], "o!": ["tg-3"],
        "tg-": ["tg-3", "tg-2", "tg-Ann"], "nobody": [],
    }.items():  # fmt: skip
        found = store.read_ordered(search=CallSearch(text)).rows
        assert [row.id for row in found] == expected, text
    found = store.read_ordered(search=CallSearch("bob", ("u1", "u2"))).rows
    assert [row.id for row in found] == ["tg-2"]


def test_a_query_that_takes_too_long_ends(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry(f"tg-{number}") for number in range(100)])
    slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT sum(i) FROM n"  # fmt: skip
    with (
        pytest.raises(QueryTooLongError, match=r"longer than 0\.05 s"),
        store.open_reader() as connection,
        store.limit_time(connection, 0.05),
    ):
        connection.execute(slow).fetchall()
    with (
        pytest.raises(StoreError, match="nothing"),
        store.open_reader() as connection,
        store.limit_time(connection, 5.0),
    ):
        connection.execute("SELECT * FROM nothing")
    assert len(store.read_ordered(max_seconds=5.0).rows) == 100
