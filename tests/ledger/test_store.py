"""The store: what journals say, once, whoever feeds it and whenever it is interrupted."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.entry import Entry
from gateway.ledger.journal import CLOSED, Journal, write
from gateway.ledger.lock import held
from gateway.ledger.store import MIGRATIONS, Store, StoreError
from tests.ledger.conftest import Start
from tests.ledger.rows import entry, intent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def ask(store: Store, sql: str) -> list[tuple[object, ...]]:
    with store.reading() as base:
        return base.execute(sql).fetchall()


def test_the_url_is_sqlites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store("sqlite:///ledger.db").path == Path("ledger.db")
    assert Store(f"sqlite:///{tmp_path}/b/ledger.db").path == tmp_path / "b/ledger.db"
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600
    for url in ("postgresql://localhost/ledger", "ledger.db", "sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="sqlite:///PATH"):
            Store(url)


def test_an_entry_is_kept_whole_with_its_cost_to_the_last_digit(store: Store, folder: Path) -> None:
    row = entry(
        cost=Decimal("12345678901234.123456789012"),
        tags=("a", "b", "a"),
        dropped=("top_k",),
        stream=True,
        confidence=0.25,
        cache_read=7,
        first_content=0.5,
    )
    (folder / "a.jsonl").write_bytes(write(intent()) + write(row) + CLOSED)
    assert store.feed(folder) == 1
    with store.reading() as base:
        base.row_factory = sqlite3.Row
        kept = dict(base.execute("SELECT * FROM entries").fetchone())
    assert kept.pop("cost") == "12345678901234.123456789012"
    assert (kept.pop("tags"), kept.pop("dropped")) == ('["a","b"]', '["top_k"]')
    assert kept.pop("stream") == 1
    assert kept == {name: getattr(row, name) for name in kept}
    # A field of Entry that has no column needs a migration.
    columns = {*kept, "cost", "tags", "dropped", "stream"}
    assert columns == set(Entry.__struct_fields__) - {"v"}


def test_what_no_call_can_have_used_is_unknown(store: Store, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(write(entry(input=2**40 + 1, output=2**40)))
    store.feed(folder)
    assert ask(store, "SELECT input, output FROM entries") == [(None, 2**40)]


def test_costs_is_a_view_for_other_tools(store: Store, folder: Path) -> None:
    rows = [
        entry("a", cost=Decimal("0.5")),
        entry("b", state="cache_hit", cost=None),
        entry("c", cost=None),
        entry("d", state="refused", cost=None, input=None, output=None),
        entry("e", state="failed", cost=None, input=None, output=7),
        entry("f", state="unknown_crash", cost=None, input=None, output=None),
    ]
    (folder / "a.jsonl").write_bytes(b"".join(map(write, rows)))
    store.feed(folder)
    assert ask(store, "SELECT id, cost_usd, unknown FROM costs ORDER BY id") == [
        ("a", 0.5, 0),
        ("b", 0.0, 0),
        ("c", None, 1),
        ("d", None, 0),
        ("e", None, 1),
        ("f", None, 1),
    ]
    assert ask(store, "SELECT DISTINCT day, time FROM costs") == [
        ("2026-10-26", "2026-10-26 07:33:20")
    ]


def test_to_feed_again_changes_nothing(store: Store, folder: Path) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(write(entry("a")) + write(entry("b")))
    assert store.feed(folder) == 2
    assert store.feed(folder) == 0
    # The same calls in another segment, and in this one once its offset is forgotten.
    (folder / "b.jsonl").write_bytes(path.read_bytes() + write(entry("c")))
    assert store.feed(folder) == 1
    with sqlite3.connect(store.path) as base:
        base.execute("DELETE FROM segments")
    base.close()
    assert store.feed(folder) == 0
    assert ask(store, "SELECT id FROM entries ORDER BY id") == [("a",), ("b",), ("c",)]


def test_a_segment_is_read_on_from_where_its_last_whole_line_ended(
    store: Store, folder: Path
) -> None:
    path = folder / "a.jsonl"
    line = write(entry("b"))
    path.write_bytes(write(entry("a")) + line[:50])
    assert store.feed(folder) == 1
    assert store.feed(folder) == 0
    path.write_bytes(write(entry("a")) + line + b"torn\n" + CLOSED)
    assert store.feed(folder) == 1
    assert ask(store, "SELECT name, offset, skipped FROM segments") == [
        ("a.jsonl", path.stat().st_size, 2)
    ]


def test_a_file_that_is_shorter_than_what_was_read_is_read_anew(store: Store, folder: Path) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(write(entry("a")) + write(entry("b")))
    store.feed(folder)
    path.write_bytes(write(entry("c")))
    assert store.feed(folder) == 1
    assert ask(store, "SELECT count(*) FROM entries") == [(3,)]


@pytest.mark.parametrize(
    "order", [("real", "crash"), ("crash", "real"), ("crash", "real", "crash")]
)
def test_a_calls_own_row_stays_and_that_of_recovery_gives_way(
    store: Store, folder: Path, order: tuple[str, ...]
) -> None:
    lines = {
        "real": write(entry("a", key="bob")),
        "crash": write(entry("a", state="unknown_crash", cost=None, input=None)),
    }
    for place, name in enumerate(order):
        (folder / f"{place}.jsonl").write_bytes(lines[name])
        store.feed(folder)
    assert ask(store, "SELECT state, cost, input, key FROM entries") == [
        ("settled", "0.0000126", 12, "bob")
    ]


def test_one_process_feeds_at_a_time(store: Store, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(write(entry()))
    with held(folder / "feed.lock") as mine:
        assert mine
        assert store.feed(folder) == 0
    assert store.feed(folder) == 1


def test_without_a_journal_there_is_nothing_to_feed(store: Store, folder: Path) -> None:
    folder.rmdir()
    assert store.feed(folder) == 0
    assert not folder.exists()


def test_two_processes_that_feed_while_a_third_writes_store_each_call_once(
    tmp_path: Path, start: Start
) -> None:
    folder = tmp_path / "journal"
    journal = Journal(folder, limit=50_000)
    feeders = [start(folder, "feed") for _ in range(2)]
    for feeder in feeders:
        assert feeder.stdout
        assert feeder.stdout.readline() == "ready\n"
    for number in range(3_000):
        journal.write(entry(f"call-{number}"))
    fed = [int(feeder.communicate("x", timeout=60)[0]) for feeder in feeders]
    journal.close()
    store = Store(f"sqlite:///{tmp_path / 'ledger.db'}")
    rest = store.feed(folder)
    assert sum(fed) + rest == 3_000
    assert rest == 0
    assert ask(store, "SELECT count(*), count(DISTINCT id) FROM entries") == [(3_000, 3_000)]


def test_a_feed_that_fails_has_stored_whole_batches_with_their_offset(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.store._BATCH", 2)
    lines = [write(entry(str(number))) for number in range(5)]
    bad = write(entry("bad"))
    with sqlite3.connect(store.path) as base:
        base.execute(
            "CREATE TRIGGER trip BEFORE INSERT ON entries WHEN new.id = 'bad'"
            " BEGIN SELECT raise(ABORT, 'tripped'); END"
        )
    base.close()
    path = folder / "a.jsonl"
    path.write_bytes(b"".join([*lines[:3], bad, lines[4]]))
    with pytest.raises(sqlite3.IntegrityError, match="tripped"):
        store.feed(folder)
    assert ask(store, "SELECT id FROM entries") == [("0",), ("1",)]
    assert ask(store, "SELECT offset FROM segments") == [(len(lines[0]) * 2,)]
    with sqlite3.connect(store.path) as base:
        base.execute("DROP TRIGGER trip")
    base.close()
    assert store.feed(folder) == 3


def test_a_reader_cannot_write(store: Store) -> None:
    with store.reading() as base, pytest.raises(sqlite3.OperationalError, match="readonly"):
        base.execute("DELETE FROM entries")


def test_a_store_of_a_newer_version_is_left_alone(store: Store) -> None:
    with sqlite3.connect(store.path) as base:
        base.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    base.close()
    with pytest.raises(StoreError, match="newer version"):
        Store(f"sqlite:///{store.path}")


def test_an_older_store_is_brought_up_to_date(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.jsonl").write_bytes(write(entry()))
    store.feed(folder)
    later = (*MIGRATIONS, ("CREATE TABLE more (id TEXT)",))
    monkeypatch.setattr("gateway.ledger.store.MIGRATIONS", later)
    newer = Store(f"sqlite:///{store.path}")
    assert ask(newer, "PRAGMA user_version") == [(len(later),)]
    assert ask(newer, "SELECT count(*) FROM entries") == [(1,)]
    assert ask(newer, "SELECT * FROM more") == []
    assert ask(newer, "PRAGMA journal_mode") == [("wal",)]


def test_many_processes_may_make_a_store_at_once(tmp_path: Path, start: Start) -> None:
    children = [start(tmp_path / "journal", "feed") for _ in range(6)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        assert child.communicate("x", timeout=60)[0] == "0\n"
