"""A store that feeds repeatedly keeps its connection; other readers are not affected."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gateway.ledger import sql_store, sqlite
from gateway.ledger.errors import StoreError
from gateway.ledger.journal import Journal
from gateway.ledger.schema import ENTRY_COLUMNS
from gateway.ledger.sqlite import SqliteStore
from tests.ledger.conftest import Start
from tests.ledger.rows import entry


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}")
    store.keep_connection()
    yield store
    store.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list of the connections that are made."""
    connections: list[object] = []
    connect: Any = sqlite3.connect

    def noted(*args: Any, **options: Any) -> sqlite3.Connection:
        connections.append(args)
        base: sqlite3.Connection = connect(*args, **options)
        return base

    monkeypatch.setattr(sqlite3, "connect", noted)
    return connections


def write(journal: Journal, first: int, last: int) -> None:
    for number in range(first, last):
        journal.write(entry(f"call-{number}"))


def wal(store: SqliteStore) -> Path:
    return store.path.with_name(f"{store.path.name}-wal")


def calls(path: Path) -> int:
    """Count the calls that any other reader sees."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        count: int = base.execute("SELECT count(*) FROM costs").fetchone()[0]
    return count


def test_consecutive_feeds_share_one_connection(
    journal: Journal, store: SqliteStore, tmp_path: Path, opened: list[object]
) -> None:
    for number in range(5):
        write(journal, number, number + 1)
        # Each feed has its own thread, as in the gateway.
        feeding = Thread(target=store.feed, args=[tmp_path / "journal"])
        feeding.start()
        feeding.join()
    assert len(opened) == 1
    assert calls(store.path) == 5
    assert wal(store).stat().st_size


def test_a_closed_store_leaves_no_wal_behind(
    journal: Journal, store: SqliteStore, tmp_path: Path
) -> None:
    write(journal, 0, 3)
    assert store.feed(tmp_path / "journal") == 3
    store.close()
    store.close()
    assert not wal(store).exists()
    assert calls(store.path) == 3
    write(journal, 3, 5)
    assert store.feed(tmp_path / "journal") == 2  # after its end the store keeps no connection
    assert not wal(store).exists()
    assert calls(store.path) == 5


def test_a_store_that_is_closed_during_a_feed_keeps_no_connection(
    journal: Journal, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    def last(base: Any, batch: Any) -> int:
        store.close()
        return put(base, batch)

    monkeypatch.setattr(store, "put", last)
    write(journal, 0, 3)
    assert store.feed(tmp_path / "journal") == 3
    assert not wal(store).exists()


def test_concurrent_feeds_have_their_own_connections(
    journal: Journal, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One store may be fed from several folders."""
    other_folder = tmp_path / "other"
    with closing(Journal(other_folder)) as other_journal:
        other_journal.write(entry("other"))
    put, times = store._reconcile_segments, []

    def within(base: Any, *args: Any) -> None:
        times.append(base)
        if len(times) == 1:
            assert store.feed(other_folder) == 1
        put(base, *args)

    monkeypatch.setattr(store, "_reconcile_segments", within)
    write(journal, 0, 3)
    assert store.feed(tmp_path / "journal") == 3
    assert times[0] is not times[1]
    assert calls(store.path) == 4


def test_a_failed_feed_is_rolled_back_and_repeated(
    journal: Journal, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(journal, 0, 3)
    store.feed(tmp_path / "journal")
    write(journal, 3, 6)
    for error, expected_error in (
        (sqlite3.OperationalError("full"), StoreError),
        (OSError(), OSError),
    ):
        put = store.put

        def fail(base: Any, batch: Any, put: Any = put, error: Exception = error) -> int:
            put(base, batch)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(store, "put", fail)
            with pytest.raises(expected_error):
                store.feed(tmp_path / "journal")
        assert calls(store.path) == 3
    assert store.feed(tmp_path / "journal") == 3
    assert calls(store.path) == 6


def test_a_store_file_that_replaces_another_is_fed_from_the_start(
    journal: Journal, store: SqliteStore, tmp_path: Path
) -> None:
    write(journal, 0, 3)
    assert store.feed(tmp_path / "journal") == 3
    for suffix in ("", "-wal", "-shm"):
        store.path.with_name(f"ledger.db{suffix}").rename(tmp_path / f"old.db{suffix}")
    write(journal, 3, 5)
    with pytest.raises(StoreError, match="rebuilds it from the journals"):
        store.feed(tmp_path / "journal")
    assert not store.path.exists()
    assert calls(tmp_path / "old.db") == 3
    new = SqliteStore(f"sqlite:///{store.path}")
    assert store.feed(tmp_path / "journal") == 5
    assert new.count() == calls(store.path) == 5


def test_a_file_that_is_no_database_any_more_is_an_error(
    journal: Journal, store: SqliteStore, tmp_path: Path
) -> None:
    write(journal, 0, 3)
    store.path.unlink()
    store.path.write_bytes(b"this is no database, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="not a database"):
        store.feed(tmp_path / "journal")


def test_the_wal_is_short_again_after_a_long_read(
    journal: Journal, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a long read, SQLite cannot move new pages from the WAL into the database."""
    monkeypatch.setattr(sqlite, "_WAL_SIZE_LIMIT", "PRAGMA journal_size_limit = 100000")
    monkeypatch.setattr(sql_store, "_SUMS_SECONDS", 0)
    with store.open_reader() as base:
        assert base.execute("SELECT count(*) FROM entries").fetchone() == (0,)
        for number in range(0, 15_000, 1_000):
            write(journal, number, number + 1_000)
            store.feed(tmp_path / "journal")
        assert wal(store).stat().st_size > 4_200_000
    for number in range(15_000, 15_010):
        write(journal, number, number + 1)
        store.feed(tmp_path / "journal")
    assert wal(store).stat().st_size < 1_000_000
    assert calls(store.path) == 15_010


def test_a_process_that_is_killed_with_an_open_connection_loses_no_row(
    journal: Journal, store: SqliteStore, tmp_path: Path, start: Start
) -> None:
    child = start(tmp_path / "journal", "keep")
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    for number in range(2_000):
        write(journal, number, number + 1)
    while not calls(store.path):
        pass
    child.kill()
    child.wait()
    before = calls(store.path)
    assert store.feed(tmp_path / "journal") == 2_000 - before
    assert calls(store.path) == 2_000
    assert store.count() == 2_000


@pytest.mark.parametrize(("work", "least"), [(0.0, 60), (0.0001, 5), (10.0, 0)])
def test_a_feed_beside_calls_pauses_after_each_piece_of_work(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: float, least: int
) -> None:
    """A feed without pauses would take the processor from calls for milliseconds."""
    monkeypatch.setattr(sql_store, "_WORK_SECONDS", work)
    monkeypatch.setattr(sql_store, "_SUMS_SECONDS", 0)
    rests: list[float] = []
    with closing(SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}", sleep=rests.append)) as store:
        store.keep_connection()
        write(journal, 0, 1)
        store.feed(tmp_path / "journal")  # the thread of the last feed does not matter
        write(journal, 1, 3_000)
        rests.clear()
        assert store.feed(tmp_path / "journal") == 2_999
        assert calls(store.path) == 3_000
    assert set(rests) <= {0.0002}
    # 46 statements of 64 rows, with one piece of rows for each; pieces of 64 KB, which end one
    # each and are 3 or 4 a batch more; and the columns of three batches.
    assert least <= len(rests) <= 3 * 46 + 3 * len(ENTRY_COLUMNS) + 6


def test_a_feed_without_calls_does_not_pause(journal: Journal, tmp_path: Path) -> None:
    rests: list[float] = []
    store = SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}", sleep=rests.append)
    write(journal, 0, 3_000)
    assert store.feed(tmp_path / "journal") == 3_000
    assert not rests


def test_a_feed_pauses_less_often_after_a_long_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long pause the feed rests less often; after a short pause it rests as before."""
    clocks = {"work": 0.0, "wall": 0.0}
    lasts, rests = [0.0002, 0.002, 0.0002, 0.0002], list[float]()

    class Times:
        @staticmethod
        def thread_time() -> float:
            return clocks["work"]

        @staticmethod
        def perf_counter() -> float:
            return clocks["wall"]

    def sleep(_: float) -> None:
        rests.append(round(clocks["work"], 5))
        clocks["wall"] += lasts[len(rests) - 1]

    monkeypatch.setattr(sql_store, "time", Times)
    with closing(SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}", sleep=sleep)) as store:
        store.keep_connection()
        for _ in range(74):
            clocks["work"] += 0.00011
            store.yield_to_calls()
    assert rests == [0.00044, 0.00088, 0.00737, 0.00781]
