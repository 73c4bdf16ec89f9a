"""SQLite's own tasks: the file is created, migrated and shared by processes."""

import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ROW_VERSION
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.ledger import sqlite
from gateway.ledger.errors import StoreError
from gateway.ledger.journal import Journal, encode_row
from gateway.ledger.reprice import price_again
from gateway.ledger.schema import SQLITE_MIGRATIONS
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import open_store
from tests.ledger.conftest import Start
from tests.ledger.rows import entry


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def ask(store: SqliteStore, sql: str) -> list[tuple[object, ...]]:
    with store.open_reader() as base:
        return base.execute(sql).fetchall()


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.executescript(sql)


def test_a_sqlite_url_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SqliteStore("sqlite:///ledger.db").path == Path("ledger.db")
    assert SqliteStore(f"sqlite:///{tmp_path}/b/ledger.db").path == tmp_path / "b/ledger.db"
    assert isinstance(open_store("sqlite:///ledger.db"), SqliteStore)
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600
    for url in ("mysql://localhost/ledger", "ledger.db", "sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="sqlite:///PATH"):
            open_store(url)


def test_the_error_of_an_invalid_database_names_its_path(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match=r"ledger\.db: file is not a database"):
        SqliteStore(f"sqlite:///{path}")


def test_a_store_of_schema_1_keeps_its_rows_and_offsets(tmp_path: Path, folder: Path) -> None:
    """The statements of that version alone create the file."""
    path, lines = tmp_path / "ledger.db", [encode_row(entry("b")), encode_row(entry("c"))]
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    change(
        path,
        f"""
        {"; ".join(SQLITE_MIGRATIONS[0])};
        INSERT INTO segments VALUES ('a.jsonl', {len(lines[0])}, 1);
        INSERT INTO entries (id, at, key, tenant, tags, dialect, stream, state, attempts, cache,
            dropped, cost, input, output, cache_write, config)
        VALUES ('b', 2.0, 'alice', 'default', '["x"]', 'openai-chat', 0, 'settled', 2, 'off',
            '[]', '0.5', 1, 2, 3, 'c0ffee'),
            ('a', 1.0, 'alice', 'default', '[]', 'openai-chat', 1, 'unknown_crash', 1, 'off',
            '[]', NULL, NULL, NULL, NULL, 'c0ffee');
        PRAGMA user_version = 1;
        """,  # noqa: S608 - the size of a line
    )
    store = SqliteStore(f"sqlite:///{path}")
    assert ask(store, "PRAGMA user_version") == [(len(SQLITE_MIGRATIONS),)]
    assert store.feed(folder) == 1  # b is not read again
    rows = store.read_entries()
    assert [(row.id, row.v, row.cost, row.tags) for row in rows] == [
        ("a", 1, None, ()),
        ("b", 1, Decimal("0.5"), ("x",)),
        ("c", ROW_VERSION, Decimal("0.0000126"), ()),
    ]
    assert [(row.team, row.end_user) for row in rows] == [(None, None)] * 3
    assert [row.cursor.partition(".")[2] for row in rows] == ["1", "2", "3"]
    assert (rows[1].stream, rows[1].tools, rows[1].cache_write_by, rows[1].wasted) == (
        False,
        {},
        {},
        None,
    )
    (total,) = store.sum_costs()
    assert (total.calls, total.unknown, total.cost) == (3, 1, Decimal("0.5000126"))
    assert store.read_offsets(folder) == {"a.jsonl": len(lines[0]) + len(lines[1])}
    assert ask(store, "SELECT sum(skipped) FROM segments") == [(1,)]


FORMER = Path(__file__).parent / "former"
"""A store (`store.sql`) and its journal (`rows.jsonl`), as the version before made them."""
FORMER_COSTS = {
    "plain": "0.0000126",
    "billed": "0.004",
    "billed-alone": "0.01",
    "audio": None,
    "retried": "0.003",
    "hit": "0",
    "repriced": "0.02",
}


def check_former_rows(store: SqliteStore) -> None:
    """Check that rows and sums of the former version are unchanged."""
    rows = {row.id: row for row in store.read_entries()}
    costs = {id: None if row.cost is None else str(row.cost) for id, row in rows.items()}
    assert costs == FORMER_COSTS
    assert {(row.v, row.computed_cost) for row in rows.values()} == {(3, None)}
    assert (rows["billed"].billed, rows["billed"].price) == (Decimal("0.0042"), "catalogue")
    assert (rows["audio"].media, rows["retried"].tags) == ({"input_audio": 60}, ("x",))
    assert (rows["repriced"].repriced, rows["repriced"].price) == (1_790_000_900.0, "p2")
    (total,) = store.sum_costs()
    assert (total.calls, total.unknown) == (7, 1)
    assert (total.cost, total.wasted, total.estimate, total.baseline) == tuple(
        map(Decimal, ("0.0370126", "0.001", "0.001", "0.04"))
    )
    (attempt,) = store.read_attempts("retried")
    assert (attempt.v, attempt.cost) == (3, Decimal("0.001"))


def test_a_store_of_the_former_version_keeps_its_rows_and_sums(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    change(path, (FORMER / "store.sql").read_text())
    store = SqliteStore(f"sqlite:///{path}")
    assert ask(store, "PRAGMA user_version") == [(len(SQLITE_MIGRATIONS),)]
    check_former_rows(store)


def test_a_journal_of_the_former_version_gives_the_same_rows_and_sums(
    store: SqliteStore, folder: Path
) -> None:
    shutil.copy(FORMER / "rows.jsonl", folder / "a.jsonl")
    assert store.feed(folder) == 10
    check_former_rows(store)


def test_a_reprice_gives_a_former_row_its_bill_as_cost(store: SqliteStore, folder: Path) -> None:
    shutil.copy(FORMER / "rows.jsonl", folder / "a.jsonl")
    store.feed(folder)
    (row,) = [row for row in store.read_entries() if row.id == "billed"]
    price = Price(rates=Rates(input=Decimal(1), output=Decimal(2)), version="new")
    assert price_again(row, price, None, 2e9, reprice_known=False) is None
    new = price_again(row, price, None, 2e9)
    assert new is not None
    (folder / "b.jsonl").write_bytes(encode_row(new))
    assert store.feed(folder) == 1
    (row,) = [row for row in store.read_entries() if row.id == "billed"]
    assert (row.cost, row.price) == (Decimal("0.0042"), "provider")
    assert row.computed_cost == Decimal("0.000072")


def test_the_statements_of_schema_1_never_change() -> None:
    """Files with this schema exist: a change of its text would be wrong about them."""
    columns = sqlite3.connect(":memory:")
    with closing(columns):
        for statement in SQLITE_MIGRATIONS[0]:
            columns.execute(statement)
        names = [row[1] for row in columns.execute("PRAGMA table_info(entries)")]
    assert names == [
        "id",
        "at",
        "key",
        "tenant",
        "tags",
        "dialect",
        "asked",
        "stream",
        "state",
        "status",
        "problem",
        "aborted_by",
        "lab",
        "tier",
        "source",
        "rule",
        "confidence",
        "provider",
        "account",
        "model",
        "effort",
        "served",
        "attempts",
        "cache",
        "dropped",
        "input",
        "cache_read",
        "cache_write",
        "output",
        "reasoning",
        "cost",
        "price",
        "first_content",
        "duration",
        "upstream_id",
        "config",
    ]


def test_a_store_of_schema_2_shows_no_savings_without_a_baseline(
    tmp_path: Path, folder: Path
) -> None:
    """Schema 2 counted the cost of a failed call as a loss, although there was no baseline."""
    path = tmp_path / "ledger.db"
    view = next(text for text in SQLITE_MIGRATIONS[1] if "CREATE VIEW costs" in text)
    before = view.replace("CAST(baseline AS REAL) - CAST", "coalesce(baseline, 0) - CAST")
    assert before != view
    steps = [
        step if step != view else before for step in (*SQLITE_MIGRATIONS[0], *SQLITE_MIGRATIONS[1])
    ]
    change(path, ";".join([*steps, "PRAGMA user_version = 2"]))
    store = SqliteStore(f"sqlite:///{path}")
    (folder / "a.jsonl").write_bytes(encode_row(entry(state="failed", cost=Decimal(1))))
    store.feed(folder)
    assert (
        ask(store, "SELECT saved FROM costs") == ask(store, "SELECT saved FROM days") == [(None,)]
    )
    assert store.sum_costs()[0].saved is None


def test_a_store_of_a_newer_version_is_an_error(store: SqliteStore) -> None:
    change(store.path, f"PRAGMA user_version = {len(SQLITE_MIGRATIONS) + 1}")
    with pytest.raises(
        StoreError,
        match=r"\(schema \d+\) was made by a newer version of tiergate: update this one, or",
    ):
        SqliteStore(f"sqlite:///{store.path}")


def test_an_older_store_is_migrated(
    store: SqliteStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.jsonl").write_bytes(encode_row(entry()))
    store.feed(folder)
    later = (*SQLITE_MIGRATIONS, ("CREATE TABLE more (id TEXT)",))
    monkeypatch.setattr("gateway.ledger.sqlite.SQLITE_MIGRATIONS", later)
    newer = SqliteStore(f"sqlite:///{store.path}")
    assert ask(newer, "PRAGMA user_version") == [(len(later),)]
    assert ask(newer, "SELECT count(*) FROM entries") == [(1,)]
    assert ask(newer, "SELECT * FROM more") == []
    assert ask(newer, "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("mode", ["feed", "keep"])
def test_two_feeding_processes_store_each_call_once(
    tmp_path: Path, start: Start, mode: str
) -> None:
    folder = tmp_path / "journal"
    journal = Journal(folder, limit=50_000)
    feeders = [start(folder, mode) for _ in range(2)]
    for feeder in feeders:
        assert feeder.stdout
        assert feeder.stdout.readline() == "ready\n"
    for number in range(3_000):
        journal.write(entry(f"call-{number}"))
    fed = [int(feeder.communicate("x", timeout=60)[0]) for feeder in feeders]
    journal.close()
    store = SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}")
    remaining = store.feed(folder)
    assert (sum(fed), remaining) == (3_000, 0)
    assert ask(store, "SELECT count(*), count(DISTINCT id) FROM entries") == [(3_000, 3_000)]


def test_many_processes_may_create_a_store_at_once(tmp_path: Path, start: Start) -> None:
    children = [start(tmp_path / "journal", "feed") for _ in range(6)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        assert child.communicate("x", timeout=60)[0] == "0\n"


_STATES = st.sampled_from(["settled", "failed", "unknown_crash"])
_ROW = st.fixed_dictionaries(
    {"id": st.integers(0, 40).map(str), "state": _STATES},
    optional={
        "at": st.sampled_from([0.0, 1.0, 1_793_000_000.5]),
        "asked": st.sampled_from([None, "auto", "a\0b"]),
        "arm": st.sampled_from([None, "canary:in"]),
        "team": st.sampled_from([None, "web", "a\0b"]),
        "end_user": st.sampled_from([None, "3f9a0c1d2e4b5a67"]),
        "tags": st.sampled_from([(), ("a",)]),
        "guards": st.sampled_from([(), ("a", "b")]),
        "stream": st.booleans(),
        "status": st.sampled_from([None, 0, 1]),
        "confidence": st.sampled_from([None, 0.0, -0.0, 1.0]),
        "cost": st.sampled_from([None, Decimal(0), Decimal("0.10")]),
        "tools": st.sampled_from([{}, {"web_search": 1}]),
        "media": st.sampled_from([{}, {"input_audio": 1}]),
        "operation": st.sampled_from([None, "images.generate"]),
        "units": st.sampled_from([{}, {"image": Decimal(1)}, {"image": Decimal("1.0")}]),
        "basis": st.sampled_from([None, DecisionRecord(user_tokens=1)]),
    },
)


@given(st.lists(_ROW, min_size=1, max_size=20), st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_rows_stored_in_bulk_equal_rows_stored_one_by_one(
    rows: list[dict[str, Any]], times: int
) -> None:
    lines = [encode_row(entry(**members)) for members in rows * times]
    stored = []
    for statement_rows in ((2, 1), (3, 1), sqlite._STATEMENT_ROWS, (1,)):
        with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite, "_STATEMENT_ROWS", statement_rows)
            folder = Path(name)
            (folder / "a.jsonl").write_bytes(b"".join(lines))
            store = SqliteStore(f"sqlite:///{folder}/ledger.db")
            changed = store.feed(folder)
            stored.append((changed, ask(store, "SELECT * FROM entries ORDER BY seq")))
    assert all(members == stored[-1] for members in stored)
