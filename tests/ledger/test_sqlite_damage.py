"""A damaged SQLite store is set aside and rebuilt from the journals."""

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from gateway.ledger import file_lock, sqlite_damage
from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.errors import StoreDamagedError, StoreError, StoreRebuildingError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.journal import Journal, encode_row
from gateway.ledger.recovery import read_removed_until, sweep
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import Rebuild
from tests.e2e.upstream import PATIENCE
from tests.ledger.rows import attempt, entry, feedback

NOW = 1_793_000_000.0
ROWS = 400
COST = Decimal("0.0000126")

type Break = Callable[[Path], None]


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(path.stat().st_size))


def text(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be looked at" * 20)


def pages(path: Path) -> None:
    """Overwrite every page but the first: only the schema can be read."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + random.Random(7).randbytes(len(data) - 4096))


def flipped(path: Path) -> None:
    """Change one byte: the type of the root page of the segments table."""
    with closing(sqlite3.connect(path)) as base:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'segments'"
        (page,) = base.execute(sql).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff")


def schema(path: Path) -> None:
    """Overwrite the first page after its header, which lists the tables."""
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def untabled(path: Path) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("DROP TABLE segments")


DAMAGES = [truncated, zeroed, garbage, text, pages, flipped, schema, untabled]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of journals."""
    folder = tmp_path / "journal"
    folder.mkdir()
    rows = [row for n in range(ROWS) for row in (attempt(f"c-{n}"), entry(f"c-{n}"))]
    (folder / "a.jsonl").write_bytes(
        b"".join(map(encode_row, [*rows, feedback("c-7")])) + CLOSED_LINE
    )
    return folder


@pytest.fixture
def path(tmp_path: Path, folder: Path) -> Path:
    """Make the file of a store that was fed and that no process has open."""
    path = tmp_path / "ledger.db"
    SqliteStore(f"sqlite:///{path}").feed(folder)
    return path


@pytest.fixture
def rebuilds() -> list[Rebuild]:
    return []


def reopened(path: Path, rebuilds: list[Rebuild], now: float = NOW) -> SqliteStore:
    """Open the store as a gateway does."""
    return SqliteStore(f"sqlite:///{path}", lambda: now, on_rebuild=rebuilds.append)


def is_whole(store: SqliteStore, calls: int = ROWS) -> bool:
    """True if every row is there once and the file has no fault."""
    (total,) = store.sum_costs()
    assert (total.calls, total.cost) == (calls, calls * COST)
    assert len(store.read_attempts("c-3")) == 1
    assert list(store.read_feedback(["c-7", "c-8"])) == ["c-7"]
    return sqlite_damage.examine(store.path) == ""


@pytest.mark.parametrize("breaks", DAMAGES)
def test_a_file_that_is_damaged_at_start_is_rebuilt(
    path: Path, folder: Path, rebuilds: list[Rebuild], breaks: Break
) -> None:
    breaks(path)
    before = path.read_bytes()
    assert sqlite_damage.examine(path)
    store = reopened(path, rebuilds)
    assert store.feed(folder) == 2 * ROWS + 1
    assert is_whole(store)
    (aside,) = sqlite_damage.list_aside_files(path)
    assert aside.read_bytes() == before
    assert rebuilds == [
        Rebuild(rebuilds[0].reason, aside.name),
        Rebuild(rebuilds[0].reason, aside.name, done=True),
    ]
    assert not store.state().rebuilding
    assert store.feed(folder) == 0
    assert reopened(path, rebuilds).count() == ROWS
    assert len(rebuilds) == 2


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("breaks", DAMAGES)
def test_a_file_that_is_damaged_while_the_store_is_open_is_rebuilt(
    path: Path, folder: Path, rebuilds: list[Rebuild], breaks: Break, *, keeps: bool
) -> None:
    """A feed or a query finds the damage, and the next feed brings all rows."""
    store = reopened(path, rebuilds)
    if keeps:
        store.keep_connection()
    store.feed(folder)
    breaks(path)
    with (folder / "b.jsonl").open("ab") as file:
        file.write(encode_row(entry("more")))
    store.feed(folder)
    for _ in range(2):  # the memory of a kept connection is not damaged
        try:
            assert is_whole(store, ROWS + 1)
        except StoreRebuildingError:
            assert store.state().rebuilding
            assert store.feed(folder)
        store.close()
    assert is_whole(store, ROWS + 1)
    healed = keeps and breaks is flipped  # from the page in the connection's memory
    assert [rebuild.done for rebuild in rebuilds] == ([] if healed else [False, True])
    assert len(sqlite_damage.list_aside_files(path)) == (not healed)


@pytest.mark.parametrize("ends", [[""], ["", "-wal", "-shm"]])
def test_a_file_that_is_deleted_while_the_store_is_open_is_rebuilt(
    path: Path, folder: Path, rebuilds: list[Rebuild], ends: list[str]
) -> None:
    """A WAL that is left over is no part of the new file."""
    store = reopened(path, rebuilds)
    store.keep_connection()
    with (folder / "b.jsonl").open("ab") as file:
        file.write(encode_row(entry("more")))
    store.feed(folder)
    for end in ends:
        path.with_name(f"ledger.db{end}").unlink()
    with pytest.raises(StoreRebuildingError, match="its file was gone"):
        store.count()
    assert store.feed(folder) == 2 * ROWS + 2
    assert is_whole(store, ROWS + 1)
    store.close()
    assert rebuilds == [Rebuild("it was gone", None), Rebuild("it was gone", None, done=True)]
    assert sqlite_damage.list_aside_files(path) == []


def test_an_empty_file_is_rebuilt(path: Path, folder: Path, rebuilds: list[Rebuild]) -> None:
    os.truncate(path, 0)
    store = reopened(path, rebuilds)
    with pytest.raises(StoreRebuildingError, match="0 rows so far"):
        store.sum_costs()
    assert store.feed(folder) == 2 * ROWS + 1
    assert is_whole(store)
    assert rebuilds == [Rebuild("it was empty", None, done=True)]


def test_a_file_that_is_emptied_while_the_store_is_open_is_rebuilt(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    store = reopened(path, rebuilds)
    store.feed(folder)
    os.truncate(path, 0)
    with pytest.raises(StoreRebuildingError):
        store.sum_costs()
    assert store.feed(folder) == 2 * ROWS + 1
    assert is_whole(store)
    assert rebuilds == [Rebuild("it was empty", None), Rebuild("it was empty", None, done=True)]
    assert sqlite_damage.list_aside_files(path) == []


def test_a_file_that_another_process_is_filling_is_not_damaged(
    path: Path, folder: Path, rebuilds: list[Rebuild], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment the file has no tables: another process waits, then feeds it."""
    mine, others, fed = reopened(path, []), reopened(path, rebuilds), list[int | None]()
    waits = Event()

    def alone(path: Path) -> AbstractContextManager[None]:
        waits.set()
        return file_lock.lock_file(path)

    with file_lock.lock_file(sqlite_damage.lock_path(path)):
        path.unlink()
        assert sqlite_damage.make_file(path)
        monkeypatch.setattr(sqlite_damage, "lock_file", alone)
        feeding = Thread(target=lambda: fed.append(others.feed(folder)))
        feeding.start()
        assert waits.wait(PATIENCE)
        with closing(sqlite_damage.connect(path)) as base:
            mine._migrate(base, "it was gone", None)
    feeding.join()
    assert fed == [2 * ROWS + 1]
    assert is_whole(others)
    assert rebuilds == [Rebuild("it was gone", None, done=True)]
    assert sqlite_damage.list_aside_files(path) == []


def test_a_file_that_reappears_meanwhile_is_fed(
    path: Path, folder: Path, rebuilds: list[Rebuild], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is missing at the open, and there again when the store looks for the reason."""
    store = reopened(path, rebuilds)
    path.unlink()
    connect = sqlite_damage.connect

    def fails(path: Path, **options: bool) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite_damage, "connect", connect)
        try:
            return connect(path, **options)
        finally:
            SqliteStore(f"sqlite:///{path}")

    monkeypatch.setattr(sqlite_damage, "connect", fails)
    assert store.feed(folder) == 2 * ROWS + 1
    assert is_whole(store)
    assert rebuilds == []


def test_an_impossible_value_counts_as_damage(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE entries SET cost = 'x' WHERE id = 'c-3'")
    store = reopened(path, rebuilds)
    with pytest.raises(StoreRebuildingError, match="rebuilding its store from the journals"):
        store.read_entries()
    store.feed(folder)
    assert is_whole(store)


def test_workers_that_find_the_damage_together_rebuild_one_file(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    pages(path)
    gate, failed = Barrier(4), list[Exception]()

    def work() -> None:
        store = reopened(path, rebuilds)
        gate.wait()
        try:
            while store.feed(folder) is None:
                pass
            assert is_whole(store)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [rebuild.done for rebuild in rebuilds] == [False, True]
    assert len(sqlite_damage.list_aside_files(path)) == 1


def test_a_process_that_waits_for_the_feed_knows_of_the_rebuild(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    mine, others = reopened(path, rebuilds), reopened(path, [])
    pages(path)
    with pytest.raises(StoreRebuildingError, match="its file was damaged"):
        mine.sum_costs()
    with try_lock_file(folder / "feed.lock"):
        assert others.feed(folder) is None
        assert others.state().rebuilding
        with pytest.raises(StoreRebuildingError, match="0 rows so far"):
            others.sum_costs()
        assert others.read_offsets(folder) == {}  # so that no segment is removed
    mine.feed(folder)
    with try_lock_file(folder / "feed.lock"):
        assert (folder / "b.jsonl").write_bytes(encode_row(entry("more")))
        assert others.feed(folder) is None
    assert not others.state().rebuilding
    assert is_whole(others)


def test_an_interrupted_rebuild_is_continued(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    garbage(path)
    reopened(path, rebuilds)
    again = list[Rebuild]()
    store = reopened(path, again)
    with pytest.raises(StoreRebuildingError):
        store.read_missing_until()
    store.feed(folder)
    assert is_whole(store)
    assert [rebuild.done for rebuild in again] == [True]


def test_a_disk_that_damages_every_file_is_not_filled_with_copies(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    """The gateway still starts, but feeds fail until some time has passed."""
    for n, age in enumerate([0, 500, 700, 1400, 2100, 90_000]):
        garbage(path)
        store = reopened(path, rebuilds, NOW + age)
        if n in {1, 4}:  # too soon, and too many in a day
            with pytest.raises(StoreDamagedError, match="check its disk"):
                store.feed(folder)
        else:
            assert store.feed(folder) == 2 * ROWS + 1
    assert len(sqlite_damage.list_aside_files(path)) == 4


def test_a_query_leaves_a_damaged_file_alone_and_says_what_to_do(path: Path, folder: Path) -> None:
    garbage(path)
    before = path.read_bytes()
    with pytest.raises(StoreDamagedError, match="move it away: the gateway rebuilds it"):
        SqliteStore(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 9])
def test_a_database_of_another_program_is_an_error(
    tmp_path: Path, rebuilds: list[Rebuild], version: int
) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE theirs (name TEXT)")
        base.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match="a database of another program") as caught:
        reopened(path, rebuilds)
    assert not isinstance(caught.value, StoreDamagedError)
    assert (sqlite_damage.list_aside_files(path), rebuilds) == ([], [])


def test_tables_without_a_version_count_as_damage(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA user_version = 0")
    store = reopened(path, rebuilds)
    store.feed(folder)
    assert is_whole(store)
    assert rebuilds[0].reason == "it has tables, and no version"


@pytest.fixture
def barred_file(path: Path) -> Iterator[Path]:
    """Copy the store to a file that its user may not open."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    barred = Path(shutil.copy(path, place / "ledger.db"))
    root = os.geteuid() == 0
    barred.chmod(0o600 if root else 0)
    if root:
        os.seteuid(65_534)
    try:
        yield barred
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(place)


def test_a_file_without_permission_does_not_count_as_damaged(
    barred_file: Path, rebuilds: list[Rebuild]
) -> None:
    with pytest.raises(StoreError, match="must be able to read and write it") as caught:
        reopened(barred_file, rebuilds)
    assert not isinstance(caught.value, StoreDamagedError)
    with pytest.raises(sqlite3.OperationalError):
        sqlite_damage.examine(barred_file)
    assert (sqlite_damage.list_aside_files(barred_file), rebuilds) == ([], [])
    assert barred_file.exists()


def test_the_rebuild_reports_until_when_rows_are_missing(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    """`keep_journal` removed the journal's files before the store was damaged."""
    os.utime(folder / "a.jsonl", (NOW - 100, NOW - 100))
    assert read_removed_until(folder) is None
    assert sweep(folder, NOW - 50, lambda _: True) == 1
    assert read_removed_until(folder) == NOW - 100
    (folder / "b.jsonl").write_bytes(encode_row(entry("more")))
    garbage(path)
    store = reopened(path, rebuilds)
    assert store.feed(folder) == 1
    assert (store.count(), store.read_missing_until()) == (1, NOW - 100)
    assert rebuilds[-1].missing_until == NOW - 100
    # A store that starts in another place does not have them either.
    other_store = reopened(path.with_name("other.db"), rebuilds)
    assert (other_store.feed(folder), other_store.read_missing_until()) == (1, NOW - 100)
    assert rebuilds[-1] == Rebuild("", None, done=True, missing_until=NOW - 100)


def test_rows_that_earlier_versions_removed_count_as_missing(path: Path, folder: Path) -> None:
    """Earlier versions did not record it: any earlier segment may be missing."""
    os.utime(folder / "id", (NOW, NOW))
    assert sweep(folder, NOW - 50, lambda _: False) == 0
    assert read_removed_until(folder) is None
    assert sweep(folder, NOW + 50, lambda _: False) == 0
    assert read_removed_until(folder) == NOW + 50
    assert sweep(folder, NOW + 90, lambda _: False) == 0
    assert read_removed_until(folder) == NOW + 50


def test_an_unreadable_note_of_removed_segments_is_ignored(folder: Path) -> None:
    (folder / "removed-until").write_text("?")
    assert read_removed_until(folder) is None


def test_a_set_aside_file_without_a_time_in_its_name_counts_as_old(
    path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    path.with_name("ledger.db.damaged-by-me").touch()
    garbage(path)
    assert reopened(path, rebuilds).feed(folder)
    assert len(sqlite_damage.list_aside_files(path)) == 2


def test_repeated_damage_during_writes_loses_no_row(
    tmp_path: Path, path: Path, folder: Path, rebuilds: list[Rebuild]
) -> None:
    """The store is damaged repeatedly under a writer, and has each row once in the end."""
    journal = Journal(folder)
    now = NOW
    store = SqliteStore(f"sqlite:///{path}", lambda: now, on_rebuild=rebuilds.append)
    store.keep_connection()
    chance = random.Random(3)
    for n in range(8):
        journal.write(entry(f"more-{n}"))
        now += 30_000
        chance.choice(DAMAGES)(path)
        store.close()
        store.feed(folder)
        try:
            store.read_entries(limit=1000)
            store.sum_costs()
        except StoreRebuildingError:
            store.feed(folder)
    journal.close()
    store.feed(folder)
    assert is_whole(store, ROWS + 8)
