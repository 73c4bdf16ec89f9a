"""A PostgreSQL store has a partition for each month, and a store from before becomes one of them."""

import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from gateway.core.ledger_rows import Row
from gateway.ledger import partitions
from gateway.ledger.errors import StoreError
from gateway.ledger.postgres import PostgresStore
from gateway.ledger.schema import POSTGRES_MIGRATIONS
from tests.contract.ledger.conftest import ask, fed, say
from tests.contract.ledger.test_former_versions import check_new_rows, make_postgres_store
from tests.ledger.postgres import PostgresServer
from tests.ledger.rows import attempt, entry, feedback, reprice

FORMER = 14
"""The last version without partitions."""

_FORMER_INSERT = """
    INSERT INTO entries SELECT (json_populate_record(entries, '{"id": "new", "seq": 99}')).*
    FROM entries WHERE id = 'plain' ON CONFLICT (id) DO NOTHING
"""


def at(year: int, month: int, day: int = 1) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()


NOW = at(2026, 11, 20)


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.make_schema()


@pytest.fixture
def store(url: str) -> PostgresStore:
    return PostgresStore(url, lambda: NOW, sleep=lambda _: None)


def names(store: PostgresStore, table: str = "entries") -> list[str]:
    """Return the partitions of a table, without its name."""
    with store.open_reader() as base:
        found = partitions.list_partitions(base, table)
    return [partition.name.removeprefix(f"{table}_") for partition in found]


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as base:
        for statement in statements:
            base.execute(statement.encode())


def test_a_row_has_the_partition_of_its_month_in_utc(store: PostgresStore, folder: Path) -> None:
    """The next month's is there before its first row."""
    moments = {
        "last": at(2026, 12) - 0.001,
        "first": at(2026, 12),
        "new-year": at(2027, 1),
        "epoch": 0.0,
        "far": 9_999_999_999.0,
    }
    fed(store, folder, [entry(id, at=moment) for id, moment in moments.items()])
    fed(store, folder, [attempt("late", at=at(2025, 1, 31))], "b")
    assert names(store) == [
        *("1970_01", "1970_02", "2026_11", "2026_12", "2027_01", "2027_02"),
        *("2286_11", "2286_12"),
    ]
    assert names(store, "failures") == ["2025_01", "2025_02"]
    assert ask(store, "SELECT id FROM entries_2026_11") == [("last",)]
    assert ask(store, "SELECT id FROM entries_2026_12") == [("first",)]
    fed(store, folder, [entry("late", at=at(2025, 1, 31))], "c")
    assert ask(store, "SELECT id FROM entries_2025_01") == [("late",)]
    assert store.sum_costs()[0].calls == 6


@pytest.mark.parametrize("own_first", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_a_call_has_one_row_though_its_recovery_has_another_time(
    store: PostgresStore, folder: Path, *, own_first: bool, together: bool
) -> None:
    """Recovery knows when the call's first attempt began, perhaps in the next month."""
    own = entry("a", at=at(2026, 12) - 0.5)
    crashed = [
        entry("a", at=at(2026, 12) + delay, state="unknown_crash", cost=None)
        for delay in (0.5, 1.5)
    ]
    rows = [[own], [crashed[0]], [crashed[1]]] if own_first else [[crashed[0]], crashed, [own]]
    for some in [[row for part in rows for row in part]] if together else rows:
        fed(store, folder, some)
    assert [row.state for row in store.read_entries()] == ["settled"]
    assert store.feed(folder) == 0


def test_pruning_drops_whole_partitions_with_all_that_their_calls_have(
    store: PostgresStore, folder: Path
) -> None:
    calls = {"old": at(2026, 8, 3), "end": at(2026, 9) - 1, "cut": at(2026, 9, 3), "kept": NOW}
    rows: list[Row] = [
        row
        for id, moment in calls.items()
        for row in (entry(id, at=moment), reprice(id, at=NOW), feedback(id, at=NOW))
    ]
    rows += [attempt(id, at=moment) for id, moment in calls.items()]
    rows.append(attempt("end", attempt=2, at=at(2026, 9) + 1))
    fed(store, folder, rows)
    assert store.prune(at(2026, 9, 4)) == 3
    assert names(store) == ["2026_09", "2026_10", "2026_11", "2026_12"]
    for view in ("entries", "reprices", "verdicts", "failures"):
        assert ask(store, f"SELECT id FROM {view}") == [("kept",)]  # noqa: S608 - of the list
    assert store.sum_costs()[0].cost == Decimal("0.02")
    fed(store, folder, [entry("late", at=calls["old"])], "b")
    assert store.sum_costs()[0].calls == 2, "the feed makes the partition again"


def test_pruning_does_not_wait_long_for_a_query(
    store: PostgresStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOCK_WAIT", "SET LOCAL lock_timeout = '50ms'")
    fed(store, folder, [entry(at=at(2026, 8))])
    with store.open_reader() as base:
        base.execute("SELECT count(*) FROM entries")
        with pytest.raises(StoreError, match="lock timeout"):
            store.prune(NOW)
    assert store.prune(NOW) == 1


def test_a_feed_makes_a_partition_that_another_process_dropped(
    store: PostgresStore, url: str, folder: Path
) -> None:
    fed(store, folder, [entry("a", at=at(2026, 8))])
    assert PostgresStore(url).prune(NOW) == 1
    say(folder, [entry("b", at=at(2026, 8))])
    with pytest.raises(StoreError, match="no partition"):
        store.feed(folder)
    assert store.feed(folder) == 1


def test_many_feeds_may_need_the_same_partition_at_once(url: str, tmp_path: Path) -> None:
    PostgresStore(url).count()
    threads = []
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        say(folder, [attempt(f"{number}"), entry(f"{number}")])
        threads.append(threading.Thread(target=PostgresStore(url).feed, args=(folder,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert PostgresStore(url).sum_costs()[0].calls == 4


def test_a_partition_of_an_operator_stays(store: PostgresStore, url: str, folder: Path) -> None:
    store.count()
    run(
        url,
        "CREATE TABLE archive PARTITION OF entries FOR VALUES FROM (MINVALUE) TO (0)",
    )
    fed(store, folder, [entry(at=at(2026, 8))])
    assert names(store) == ["2026_08", "2026_09"]
    assert store.prune(NOW) == 1
    assert ask(store, "SELECT id FROM archive") == []


def test_the_table_of_a_former_version_becomes_a_partition(
    store: PostgresStore, url: str, folder: Path
) -> None:
    make_postgres_store(url, FORMER)
    with store.open_reader() as base:  # upgrades it
        base.execute("SELECT 1")
    assert names(store) == ["before_2027_01"]
    assert names(store, "failures") == ["before_2027_01"]
    check_new_rows(store, folder)
    fed(store, folder, [entry("next", at=at(2027, 1))], "b")
    assert names(store) == ["before_2027_01", "2027_01", "2027_02"]
    query = "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conname LIKE '%before%'"
    assert ask(store, query) == [(0,)]
    with pytest.raises(StoreError, match="unique"), store.open_writer() as base:
        base.execute("INSERT INTO entries SELECT * FROM entries LIMIT 1")
    assert store.prune(at(2027, 1)) == 8
    assert names(store) == ["2027_01", "2027_02"]


def test_rows_of_a_wrong_clock_get_their_own_partition(
    store: PostgresStore, url: str, folder: Path
) -> None:
    make_postgres_store(url, FORMER)
    change = "UPDATE {} SET at = 5e9 WHERE id IN ('plain', 'retried')"
    run(url, change.format("entries"), change.format("failures"))
    check_new_rows(store, folder)
    assert names(store)[1:] == ["2128_06"]
    assert names(store, "failures")[1:] == ["2128_06"]
    assert ask(store, "SELECT count(*) FROM entries_2128_06") == [(2,)]


def test_an_interrupted_upgrade_begins_again(store: PostgresStore, url: str) -> None:
    """Until then, a gateway of the former version still feeds the store."""
    make_postgres_store(url, FORMER)
    with psycopg.connect(url, autocommit=True) as base:
        base.execute("ALTER TABLE failures ADD CONSTRAINT failures_before_2026_12 CHECK (at > 0)")
        partitions.prepare_migration(base, NOW)
    invalid = "SET indisvalid = false WHERE indexrelid = 'entries_before_key'::regclass"
    run(url, f"UPDATE pg_index {invalid}", _FORMER_INSERT)
    assert store.count() == 8
    assert names(store) == names(store, "failures") == ["before_2027_01"]
    assert ask(store, "SELECT version FROM ledger") == [(len(POSTGRES_MIGRATIONS),)]


def test_an_upgrade_does_not_wait_long_for_a_query(
    store: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_postgres_store(url, FORMER)
    waits = "SET LOCAL lock_timeout = '50ms'"
    monkeypatch.setattr("gateway.ledger.postgres._MIGRATION_LOCK_WAIT", waits)
    with psycopg.connect(url, autocommit=True) as base:
        partitions.prepare_migration(base, NOW)
        base.execute("BEGIN")
        base.execute("SELECT count(*) FROM entries")
        with pytest.raises(StoreError, match="lock timeout"):
            store.count()
        base.execute("COMMIT")
    assert store.count() == 7


def test_one_process_upgrades_and_others_do_not_wait_long(store: PostgresStore, url: str) -> None:
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(x'7469657267617465'::bigint)")
        with pytest.raises(StoreError, match="another gateway upgrades"):
            store.count()
    assert store.count() == 0
