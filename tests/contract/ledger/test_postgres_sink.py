"""A PostgreSQL database beside a SQLite store has the same rows, whatever happens to it."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.ledger.erase import erase_user
from gateway.ledger.errors import SinkError, StoreError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.postgres import PostgresStore
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.sinks.postgres import PostgresSink
from gateway.ledger.sqlite import SqliteStore
from tests.contract.ledger.conftest import ask, say
from tests.ledger.postgres import PostgresServer, server
from tests.ledger.rows import attempt, entry, feedback, reprice, sealed


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.make_schema()


@pytest.fixture
def sink(url: str) -> Iterator[PostgresSink]:
    opened_sink = open_sink("warehouse", url)
    assert isinstance(opened_sink, PostgresSink)
    yield opened_sink
    opened_sink.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteStore:
    return SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_database_that_is_away_gets_all_rows_later(folder: Path, sqlite: SqliteStore) -> None:
    with server() as frail:
        sink = PostgresSink("warehouse", frail.url())
        sink.check()
        assert sink.read_offsets(folder) == {}
        size = say(folder, [entry("a")])
        assert sink.feed(folder) == 1
        frail.stop()
        say(folder, [entry("b"), reprice("a", cost=Decimal(2)), attempt("b"), feedback("b")])
        for _ in range(2):
            with pytest.raises(StoreError, match="connection"):
                sink.feed(folder)
        with pytest.raises(StoreError):
            sink.check()
        assert sink.read_offsets(folder) == {"a.jsonl": size}, "without asking the database"
        assert sqlite.feed(folder) == 5, "the store gets its rows"
        frail.start()
        assert sink.feed(folder) == 4
        assert sink.state().rows == 5
        store = PostgresStore(frail.url())
        assert store.sum_costs(["model"]) == sqlite.sum_costs(["model"])
        assert sink.read_offsets(folder) == sqlite.read_offsets(folder)
        sink.close()


def test_rows_that_come_again_and_from_several_gateways_leave_sums_exact(
    sink: PostgresSink, url: str, tmp_path: Path, sqlite: SqliteStore
) -> None:
    stores = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        rows = [entry(f"{name}-{number}", cost=Decimal(number) / 7) for number in range(50)]
        say(folder, [*rows, reprice(f"{name}-3", cost=Decimal(5))])
        assert sink.feed(folder) == 51
        sqlite.feed(folder)
        with PostgresStore(url).open_writer() as base:
            base.execute("DELETE FROM segments")
        stores.append(PostgresSink("warehouse", url))
        assert stores[-1].feed(folder) == 0
    assert PostgresStore(url).sum_costs(["key"]) == sqlite.sum_costs(["key"])


def test_the_sink_and_the_store_do_not_wait_for_each_other(
    sink: PostgresSink, folder: Path, sqlite: SqliteStore
) -> None:
    say(folder, [entry()])
    with try_lock_file(folder / "feed.lock"):
        assert sink.feed(folder) == 1
    say(folder, [entry("b")])
    with try_lock_file(folder / "warehouse.sink.lock"):
        assert sink.feed(folder) is None, "another worker delivers"
        assert sqlite.feed(folder) == 2
    assert sink.feed(folder) == 1


def test_an_erasure_reaches_the_sink(
    sink: PostgresSink, url: str, tmp_path: Path, folder: Path, sqlite: SqliteStore
) -> None:
    row = entry("a", end_user="hash", conversation="c")
    (folder / "a.sealed.jsonl").write_bytes(sealed(row, entry("b")))
    sqlite.feed(folder)
    assert sink.feed(folder) == 2
    erased = erase_user(folder, tmp_path, sqlite, "hash", [sink])
    assert erased.calls == 1
    found = ask(PostgresStore(url), "SELECT id, end_user, conversation FROM costs ORDER BY id")
    assert found == [("a", None, None), ("b", None, None)]


def test_a_wrong_url_is_an_error_without_its_password() -> None:
    with pytest.raises(SinkError, match=r"the sink warehouse: .* %40 for @") as failed:
        open_sink("warehouse", "postgresql://me:a/s3cr3t@host/db")
    assert "s3cr3t" not in str(failed.value)
