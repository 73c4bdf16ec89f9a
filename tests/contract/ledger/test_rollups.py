"""Sums by 15 minutes and by day answer as the rows do, to the last digit, after any change."""

from collections.abc import Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.ledger_rows import FinalRow, Row
from gateway.ledger.errors import QueryTooLongError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.query import GROUP_BY_NAMES, QueryGroup
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.rollups import RELATIVE_ERROR, Period
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.time_series import LatencyTimes, build_slots
from tests.contract.ledger.conftest import Make, ask, fed
from tests.ledger.rows import attempt, entry, reprice

DAY = 1_792_972_800.0  # a midnight in UTC
QUARTER = 900
ZONES: list[tzinfo] = [
    UTC,
    ZoneInfo("Europe/Berlin"),
    timezone(timedelta(hours=5, minutes=45)),
    timezone(timedelta(minutes=7)),  # its days begin within a quarter
]
QUARTERS = (0, 1, 2, 94, 95, 96, 97, 200)
OFFSETS = (0.0, 0.25, 450.5, 899.99, 10.0)
USER = "3f9a0c1d2e4b5a67"
RUN = count()

fitting = st.sampled_from(
    [Decimal(text) for text in ("0", "0.10", "3", "0.000000123456789012345", "1E-9", "9999.5")]
)
misfits = st.sampled_from([Decimal(text) for text in ("1E-25", "12345.6", "-0.5")])
amounts = st.none() | st.integers(0, 39).flatmap(lambda one: fitting if one else misfits)
moments = st.builds(
    lambda quarter, offset: DAY + quarter * QUARTER + offset,
    st.sampled_from(QUARTERS),
    st.sampled_from(OFFSETS),
)


def make_entry(number: int, state: str, **changes: Any) -> FinalRow:
    """Make a row of one of a few calls; recovery takes another time for that of the call."""
    quarter = QUARTERS[number % len(QUARTERS)] + (state == "unknown_crash")
    offset = OFFSETS[number % len(OFFSETS)]
    return entry(f"call-{number}", at=DAY + quarter * QUARTER + offset, state=state, **changes)


entries = st.builds(
    make_entry,
    st.integers(0, 11),
    state=st.sampled_from(["settled", "failed", "cache_hit", "unknown_crash", "aborted"]),
    tier=st.sampled_from(["fast", "smart", None]),
    lab=st.sampled_from(["openai", "local"]),
    key=st.sampled_from(["alice", 'bob "\\ ü']),
    team=st.sampled_from([None, "red"]),
    tags=st.sampled_from([(), ("a",), ("a", "b")]),
    guards=st.sampled_from([(), ("g",)]),
    status=st.sampled_from([200, 503]),
    end_user=st.sampled_from([None, USER, "0123456789abcdef"]),
    attempts=st.integers(0, 2),
    input=st.none() | st.integers(0, 2**40),
    cost=amounts,
    baseline=amounts,
    reserved=amounts,
    wasted=amounts,
    duration=st.none() | st.sampled_from([0.0, 0.001, 0.75, 3.0, 100.0]),
    first_content=st.none() | st.floats(0.01, 10),
)
reprices = st.builds(
    reprice,
    st.sampled_from([f"call-{number}" for number in range(12)]),
    at=st.floats(DAY, DAY + 9),
    cost=amounts,
    baseline=amounts,
)
changes = st.lists(
    st.lists(entries | reprices, max_size=8) | st.sampled_from(["sums", "prune", "erase"]),
    max_size=4,
)
filters = st.dictionaries(
    st.sampled_from(["tier", "key", "tag", "state", "day", "status", "user", "guard"]),
    st.just(["fast", "alice", "a", "settled", "200", "2026-10-27", "g", USER]),
    max_size=2,
)
questions = st.fixed_dictionaries(
    {
        "by": st.lists(st.sampled_from(GROUP_BY_NAMES), max_size=2, unique=True)
        | st.sampled_from([["user"], ["user", "key"], ["day", "user"]]),
        "since": st.none() | moments,
        "until": st.none() | moments,
        "zone": st.sampled_from(ZONES),
        "only": filters,
    }
)


def change(store: SqlStore, folder: Path, steps: Sequence[list[Row] | str]) -> None:
    for step in steps:
        if step == "sums":
            store.make_sums()
        elif step == "prune":
            store.prune(DAY + 20 * QUARTER)
        elif step == "erase":
            store.erase_user(USER)
        else:
            fed(store, folder, [row for row in step if not isinstance(row, str)])


def sum_rows(
    store: SqlStore, by: Sequence[str] = (), *, zone: tzinfo = UTC, **selection: Any
) -> list[QueryGroup]:
    """Return the answer from rows alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.ledger.rollup_queries.find_kind", lambda *_, **__: None)
        return store.sum_costs(by, zone=zone, **selection)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=changes, asked=st.lists(questions, min_size=1, max_size=4))
def test_sums_are_those_of_the_rows(
    make: Make, tmp_path: Path, steps: list[Any], asked: list[dict[str, Any]]
) -> None:
    store, folder = make(), tmp_path / f"{next(RUN)}"
    folder.mkdir()
    change(store, folder, steps)
    for question in asked:
        # As texts: as many decimals too.
        assert str(store.sum_costs(**question)) == str(sum_rows(store, **question)), question
    store.make_sums()
    for question in asked:
        # As texts: as many decimals too.
        assert str(store.sum_costs(**question)) == str(sum_rows(store, **question)), question


def test_amounts_that_do_not_fit_are_read_from_rows(store: SqlStore, folder: Path) -> None:
    rows = [
        entry("a", at=DAY, cost=Decimal("0.1234567890123456789012345")),
        entry("b", at=DAY + QUARTER, cost=Decimal(2)),
        entry("c", at=DAY + 86_400, cost=Decimal(4)),
    ]
    fed(store, folder, rows)
    store.make_sums()
    (total,) = store.sum_costs()
    assert total.cost == Decimal("6.1234567890123456789012345")
    assert store.make_sums() == 0  # nor are they tried again


def test_a_row_that_changes_while_its_sums_are_made_is_in_the_next_ones(
    store: SqlStore, folder: Path
) -> None:
    fed(store, folder, [entry("a", at=DAY, cost=Decimal(1))])
    with store.open_writer() as base:
        period = store.rollups.find_pending(base, DAY + 2 * 86_400)
        assert period is not None
        late = iter([[entry("b", at=DAY, cost=Decimal(2))]])

        def feed_late(*_: object) -> None:
            fed(store, folder, next(late, []))

        assert not store.rollups.make_sums(base, period, feed_late)
    assert store.make_sums() == 2
    assert [group.cost for group in store.sum_costs(["tier"])] == [Decimal(3)]


def test_a_quarter_that_is_not_over_has_no_sums(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a", at=DAY)])
    with store.open_writer() as base:
        assert store.rollups.find_pending(base, DAY + QUARTER + 100) is None
        period = store.rollups.find_pending(base, DAY + QUARTER + 130)
        assert period is not None
        assert not period.by_day


def test_latencies_of_sums_are_within_their_error(store: SqlStore, folder: Path) -> None:
    rows = [
        entry(
            f"{number}",
            at=DAY + number * 100,
            tier=("fast", "smart")[number % 2],
            duration=0.001 * number**2,
            first_content=None if number % 3 else 0.5,
        )
        for number in range(1_000)
    ]
    fed(store, folder, rows)
    slots = build_slots("day", DAY, DAY + 100_000, UTC)
    asked: list[dict[str, Any]] = [
        {"by": ["tier"]},
        {"by": []},
        {"by": ["tier"], "slots": slots, "since": DAY},
        {"by": ["lab", "tier"]},
        {"by": ["lab"], "only": {"tier": ["fast"]}},
    ]
    exact = [store.measure_latency(**question) for question in asked]
    store.make_sums()
    for question, times in zip(asked, exact, strict=True):
        answer = store.measure_latency(**question)
        assert [time.names for time in answer] == [time.names for time in times]
        for near, true in zip(answer, times, strict=True):
            assert (true.relative_error, near.relative_error) == (None, RELATIVE_ERROR)
            check_spreads(near, true)


def check_spreads(near: LatencyTimes, true: LatencyTimes) -> None:
    for one, other in (
        (near.duration, true.duration),
        (near.first_content, true.first_content),
    ):
        assert one is not None
        assert other is not None
        assert one.count == other.count
        for name in ("p50", "p95", "p99"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=RELATIVE_ERROR)


def test_latencies_of_other_names_are_exact(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a", at=DAY, duration=0.0, first_content=1.0, tags=("x",))])
    store.make_sums()
    (times,) = store.measure_latency(["tag"])
    assert (times.relative_error, times.duration and times.duration.p50) == (None, 0.0)
    (times,) = store.measure_latency(["tier"])
    assert times.duration is not None
    assert (times.relative_error, times.duration.p99) == (RELATIVE_ERROR, 0.0)


def test_sums_that_differ_from_rows_are_counted(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a", at=DAY, cost=Decimal("0.0000001234567890123"))])
    store.make_sums()
    with store.open_writer() as base:
        days = [Period(True, int(DAY // 86_400), 0), Period(False, int(DAY // QUARTER), 0)]
        assert [store.rollups.count_differences(base, day) for day in days] == [0, 0]
        base.execute("UPDATE rollups SET calls = 2 WHERE kind = 0")
        assert [store.rollups.count_differences(base, day) for day in days] == [0, 2]


def test_sums_are_made_bit_by_bit_and_by_no_feed(store: SqlStore, folder: Path) -> None:
    """A question that waits for a feed does not wait for sums."""
    fed(store, folder, [entry("a", at=DAY)])
    store.keep_connection()
    try:
        fed(store, folder, [entry("b", at=DAY)])
        for _ in range(3):
            store.feed(folder)
        assert ask(store, "SELECT count(*) FROM rollup_pending") == [(2,)]
        for _ in range(3):
            store.continue_sums(folder)
        assert ask(store, "SELECT count(*) FROM rollup_pending") == [(0,)]
    finally:
        store.close()


def test_another_process_may_make_sums_meanwhile(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a", at=DAY)])
    with try_lock_file(folder / "sums.lock"):
        store.continue_sums(folder)
    assert ask(store, "SELECT count(*) FROM rollup_pending") == [(2,)]


def test_many_scattered_changes_are_read_as_rows_at_once(store: SqlStore, folder: Path) -> None:
    rows = [entry(f"{n}", at=DAY + n * QUARTER, cost=Decimal(n)) for n in range(240)]
    fed(store, folder, rows)
    with store.open_writer() as base:  # as if every second quarter had its sums
        base.execute("DELETE FROM rollup_pending WHERE by_day = 0 AND start % 2 = 0")
    (total,) = store.sum_costs(only={"key": ["alice"]})
    assert total.calls == 240


def test_sums_go_with_the_rows_that_were_kept_long_enough(store: SqlStore, folder: Path) -> None:
    month = 1_793_491_200.0  # the beginning of November
    fed(store, folder, [entry("a", at=DAY), entry("b", at=month, cost=Decimal(2))])
    store.make_sums()
    assert store.prune(month) == 1
    assert [(group.calls, group.cost) for group in store.sum_costs(["tier"])] == [(1, Decimal(2))]
    store.make_sums()
    assert [(group.calls, group.cost) for group in store.sum_costs(["tier"])] == [(1, Decimal(2))]
    assert ask(store, "SELECT count(*) FROM rollups WHERE start BETWEEN 1000000 AND 1992767") == [
        (0,)
    ]


def test_a_wrong_sum_is_counted_and_made_again(make: Make, folder: Path) -> None:
    store = make()
    store._clock = lambda: DAY + 86_400 + 2 * QUARTER  # days pass faster
    fed(store, folder, [entry("a", at=DAY, cost=Decimal(1)), entry("b", at=DAY + QUARTER)])
    store.make_sums()
    with store.open_writer() as base:
        base.execute("UPDATE rollups SET calls = 5 WHERE kind = 0 AND calls = 1")
        base.execute("UPDATE rollup_check SET next_start = 1")
    assert store.sum_costs(since=DAY, until=DAY + 2 * QUARTER)[0].calls == 10
    store.keep_connection()
    try:
        for _ in range(250):
            store.continue_sums(folder)
    finally:
        store.close()
    assert store.state().wrong_sums == 4
    assert store.sum_costs(since=DAY, until=DAY + 2 * QUARTER)[0].calls == 2


def test_a_wrong_sum_of_a_day_is_made_again_too(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("a", at=DAY, cost=Decimal(1))])
    store.make_sums()
    with store.open_writer() as base:
        base.execute("UPDATE rollups SET calls = 5 WHERE start = 20752")
        now = DAY + 2 * 86_400 + QUARTER
        base.execute("UPDATE rollup_check SET next_start = 1992288")  # a day after DAY
        assert store.rollups.check_next(base, now) > 100
        assert store.rollups.check_next(base, now) == 0
    store.make_sums()
    assert store.sum_costs(["tier", "rule"])[0].calls == 1


def test_a_row_that_comes_during_a_check_is_no_difference(store: SqlStore, folder: Path) -> None:
    now = DAY + 86_400 + QUARTER
    with store.open_writer() as base:
        base.execute("UPDATE rollup_check SET next_start = 1992192")  # the first of DAY
        fed(store, folder, [entry("a", at=DAY)])  # pending, and without sums
        assert store.rollups.check_next(base, now) == 0


def ask_users(store: SqlStore) -> list[tuple[object, ...]]:
    """Return the table of end users, in order."""
    return ask(
        store,
        "SELECT start, end_user, key, calls FROM rollup_users"
        " ORDER BY start, coalesce(end_user, ''), key",
    )


def feed_users(store: SqlStore, folder: Path) -> None:
    users: list[tuple[str, str | None, str, int]] = [
        ("a", "u1", "alice", 0),
        ("b", "u1", "alice", 1),
        ("c", "u1", "bob", 2),
    ]
    users += [("d", None, "bob", 3), ("e", "u2", "bob", 86_400)]
    fed(
        store,
        folder,
        [
            entry(id, at=DAY + offset, key=key, end_user=user, cost=Decimal("0.10"))
            for id, user, key, offset in users
        ],
    )


def test_end_users_have_sums_by_day_and_key(store: SqlStore, folder: Path) -> None:
    feed_users(store, folder)
    store.make_sums()
    assert ask_users(store) == [
        *((20752, None, "bob", 1), (20752, "u1", "alice", 2), (20752, "u1", "bob", 1)),
        (20753, "u2", "bob", 1),
    ]
    with store.open_writer() as base:  # the answers are those of the sums
        base.execute("UPDATE rollup_users SET calls = calls * 10")
        days = [Period(True, start, 0) for start in (20752, 20753)]
        assert [store.rollups.count_differences(base, day) for day in days] == [6, 2]
        assert ask(store, "SELECT count(*) FROM rollup_pending") == [(0,)]
    answers = {
        ("user",): [("u1", 30), ("u2", 10), (None, 10)],
        ("user", "key"): [("u1", 20), ("u1", 10), ("u2", 10), (None, 10)],
        ("day", "user"): [("2026-10-26", 30), ("2026-10-26", 10), ("2026-10-27", 10)],
    }
    for by, answer in answers.items():
        assert [(group.names[0], group.calls) for group in store.sum_costs(by)] == answer
    (total,) = store.sum_costs(only={"user": ["u1"], "key": ["alice"]})
    assert (total.calls, str(total.cost)) == (20, "0.20")
    # A day that the question has no more than a part of is read from its rows.
    assert [group.calls for group in store.sum_costs(["user"], since=DAY + 1)] == [2, 10, 1]


def test_erasure_takes_a_user_out_of_the_sums(store: SqlStore, folder: Path) -> None:
    feed_users(store, folder)
    store.make_sums()
    before = str(store.sum_costs(["key"]))
    store.erase_user("u1")
    assert ask_users(store) == [(20752, None, "bob", 1), (20753, "u2", "bob", 1)]
    assert ask(store, "SELECT by_day, start FROM rollup_pending") == [(1, 20752)]
    answer = store.sum_costs(["user", "key"])
    assert [(*group.names, group.calls) for group in answer] == [
        *((None, "alice", 2), (None, "bob", 2), ("u2", "bob", 1)),
    ]
    assert store.make_sums() == 1
    assert str(store.sum_costs(["user", "key"])) == str(answer)
    assert str(store.sum_costs(["key"])) == before
    assert [row[1] for row in ask_users(store)] == [None, None, "u2"]


def test_a_sqlite_file_has_no_trace_of_an_erased_user(tmp_path: Path, folder: Path) -> None:
    store = SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}")
    store.keep_connection()
    try:
        for number in range(3):  # days are made again
            rows = [entry(f"{number}-{n}", at=DAY + n, end_user=USER) for n in range(200)]
            fed(store, folder, [*rows, entry(f"{number}-x", at=DAY, key=f"key-{number}")])
            store.make_sums()
        assert USER in {row[1] for row in ask_users(store)}
        store.erase_user(USER)
        store.make_sums()
    finally:
        store.close()
    assert not any(USER.encode() in path.read_bytes() for path in tmp_path.glob("ledger.db*"))


def test_days_of_a_store_without_sums_of_users_are_pending(store: SqlStore, folder: Path) -> None:
    feed_users(store, folder)
    store.make_sums()
    expected = str(store.sum_costs(["user"]))
    fed(store, folder, [entry("late", at=DAY + 86_400, end_user="u2", cost=Decimal(0))])
    (version,) = ask(store, "SELECT version FROM rollup_pending WHERE by_day = 1")
    with store.open_writer() as base, store.transaction(base):
        for sql in ("DROP TABLE rollup_users", *store.rollup_sql.build_user_table()):
            base.execute(sql)
    pending = ask(store, "SELECT start, version FROM rollup_pending WHERE by_day = 1 ORDER BY 1")
    # A process of the earlier version that makes sums meanwhile has not made those of users.
    assert pending == [(20752, 0), (20753, int(str(version[0])) + 1)]
    answer = str(store.sum_costs(["user"]))
    assert answer != expected
    store.make_sums()
    assert str(store.sum_costs(["user"])) == answer
    assert len(ask_users(store)) == 5


def test_sums_and_rows_answer_one_question(store: SqlStore, folder: Path) -> None:
    rows = [
        entry(f"{n}", at=DAY + n * 300, duration=float(n + 1), first_content=None, cost=Decimal(n))
        for n in range(12)
    ]
    saving = entry("s", at=DAY + 9_000, cost=Decimal("0.000000000001"), baseline=Decimal("0.5"))
    fed(store, folder, [*rows, attempt("0"), saving])
    fed(store, folder, [attempt("1")])
    store.make_sums()
    part: dict[str, Any] = {"since": DAY + 300, "until": DAY + 11 * 300}
    (total,) = store.sum_costs(**part)
    assert (total.calls, total.cost) == (10, Decimal(55))
    (times,) = store.measure_latency(["tier"], **part)
    assert times.duration is not None
    assert (times.duration.count, times.first_content) == (10, None)
    assert times.duration.p50 == pytest.approx(6, rel=RELATIVE_ERROR)
    (call,) = store.sum_costs(since=DAY + 300, until=DAY + 301)  # within a quarter
    assert call.cost == 1
    (whole,) = store.sum_costs()
    assert (str(whole.cost), str(whole.saved)) == ("66.000000000001", "0.499999999999")
    (nothing,) = store.sum_costs(only={"tier": ["none"]})
    assert (nothing.calls, nothing.cost) == (0, None)


def test_a_question_notes_that_it_reads_single_rows(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry(f"{n}", at=DAY + n * 3_600, duration=1.0) for n in range(48)])
    store.make_sums()

    def reads_rows(by: Sequence[str], *, latency: bool = False, **selection: Any) -> bool:
        limit = QuestionLimit(9.0)
        (store.measure_latency if latency else store.sum_costs)(
            by, question_limit=limit, **selection
        )
        return limit.reads_rows

    assert not reads_rows(["tier"])
    assert not reads_rows(["tier"], since=DAY + 100, until=DAY + 86_000)  # rows at both edges
    assert not reads_rows(["tier"], since=DAY + 200_000)  # no calls
    assert reads_rows(["user", "tier"])
    assert not reads_rows(["user"], since=DAY, until=DAY + 3_600)
    assert not reads_rows(["tier"], latency=True)
    assert reads_rows(["tag"], latency=True)
    fed(store, folder, [entry("late", at=DAY + 7_000)])
    assert not reads_rows(["tier"])
    fed(store, folder, [entry(f"late {n}", at=DAY + n * QUARTER) for n in range(9)])
    assert reads_rows(["tier"])


def test_questions_end_after_their_time(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT sum(i) FROM n"  # fmt: skip
    fed(store, folder, [entry("a")])
    monkeypatch.setattr(store, "_read_span", lambda base, *_: base.execute(slow).fetchall())
    now = count(step=10)
    for question in store.sum_costs, store.measure_latency:
        # An earlier question has taken its whole time.
        limit = QuestionLimit(10.0, lambda: float(next(now)))
        with pytest.raises(QueryTooLongError, match="longer than 10 s"):
            question(question_limit=limit)


def test_a_check_compares_all_sums_that_are_not_pending(store: SqlStore, folder: Path) -> None:
    at = [DAY, DAY + 3 * QUARTER, DAY + 86_400]
    fed(store, folder, [entry(f"{n}", at=moment) for n, moment in enumerate(at)])
    assert list(store.check_sums()) == []  # all are pending
    store.make_sums()
    before = ask(store, "SELECT * FROM rollups ORDER BY kind, start, set_id")
    quarters = [(moment, moment + QUARTER) for moment in at]
    days = [(DAY, DAY + 86_400), (DAY + 86_400, DAY + 2 * 86_400)]
    assert [report[:2] for report in store.check_sums()] == [*quarters, *days]
    assert not any(report.differences for report in store.check_sums())
    assert ask(store, "SELECT * FROM rollups ORDER BY kind, start, set_id") == before
    with store.open_writer() as base:
        base.execute("UPDATE rollups SET calls = 5 WHERE start = 1992192")  # the first of DAY
        base.execute("DELETE FROM rollups WHERE start = 20753")  # the day after DAY
    reports = list(store.check_sums())
    assert [bool(report.differences) for report in reports] == [True, False, False, False, True]
    assert [report.since for report in store.check_sums(since=DAY + 86_400)] == [
        DAY + 86_400,
        DAY + 86_400,
    ]
    assert not ask(store, "SELECT * FROM rollup_pending")


def test_rows_that_come_during_a_check_are_no_differences(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed(store, folder, [entry("a", at=DAY)])
    store.make_sums()
    compare, comparisons = store.rollups.count_differences, count()

    def meanwhile(base: Any, period: Period) -> int:
        if not next(comparisons):
            fed(store, folder, [entry("b", at=DAY)])
            store.make_sums()
            return 7
        if not period.by_day:
            return compare(base, period)
        fed(store, folder, [entry("c", at=DAY)])
        return 7

    monkeypatch.setattr(store.rollups, "count_differences", meanwhile)
    assert [report.differences for report in store.check_sums()] == [0, 0]


def test_a_rebuild_has_all_sums_made_again(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry("gone", at=DAY)], name="b")
    fed(store, folder, [entry("a", at=DAY + 86_400)])
    store.make_sums()
    (folder / "b.jsonl").unlink()  # its rows stay in the store alone
    with store.open_writer() as base:
        base.execute("UPDATE rollups SET calls = 5")
    assert store.rebuild(folder) == 1
    assert [group.calls for group in store.sum_costs(["tier"])] == [2]
    store.make_sums()
    assert [group.calls for group in store.sum_costs(["tier"])] == [2]
    assert not any(report.differences for report in store.check_sums())
