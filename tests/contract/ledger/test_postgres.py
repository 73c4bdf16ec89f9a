"""A shared database server may be down, is fed by several machines, and needs a password."""

import threading
import traceback
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from gateway.ledger.errors import StoreError
from gateway.ledger.journal import Journal
from gateway.ledger.postgres import PostgresStore
from gateway.ledger.schema import POSTGRES_MIGRATIONS
from gateway.ledger.store import StoredRow, open_store
from tests.contract.ledger.conftest import ask, fed, say
from tests.ledger.postgres import PostgresServer, server
from tests.ledger.rows import entry, intent, reprice


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.make_schema()


@pytest.fixture
def frail() -> Iterator[PostgresServer]:
    """Start a server that a test may stop."""
    with server() as running_server:
        yield running_server


def test_a_url_of_postgresql_opens_its_store(url: str, folder: Path) -> None:
    for scheme in ("postgresql", "postgres"):
        store = open_store(url.replace("postgresql", scheme, 1))
        assert isinstance(store, PostgresStore)
        assert fed(store, folder, [entry(scheme)], scheme).sum_costs()[0].calls


def test_a_store_that_was_down_is_fed_later_from_its_last_offset(
    frail: PostgresServer, folder: Path
) -> None:
    """Rows wait in the journal, never in memory."""
    store = PostgresStore(frail.url())
    journal = Journal(folder)
    journal.write(entry("first"))
    store.feed(folder)
    frail.stop()
    tracemalloc.start()
    try:
        for number in range(6_000):
            journal.write(intent(f"{number}"))
            journal.write(entry(f"{number}"))
            if number % 1000 == 0:
                with pytest.raises(StoreError, match="PostgreSQL store: connection"):
                    store.feed(folder)
        assert store.state().rows == 1
        with pytest.raises(StoreError):
            store.sum_costs()
        frail.start()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        assert store.feed(folder) == 6_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        journal.close()
    assert peak - before < 3_000_000  # of 12,000 rows, 6 MB
    assert store.sum_costs()[0].calls == 6_001
    assert store.state().rows == 6_001


def test_a_connection_that_breaks_during_a_feed_loses_no_row(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.ingest._BATCH_LINES", 10)
    store = PostgresStore(url)
    say(folder, [entry(str(number)) for number in range(100)])
    put, calls = store.put, iter(range(99))

    def cut(base: psycopg.Connection, batch: object) -> int:
        if next(calls) == 4:
            with psycopg.connect(url) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", [base.info.backend_pid])
        return put(base, batch)  # type: ignore[arg-type]  # it is the same method

    monkeypatch.setattr(store, "put", cut)
    with pytest.raises(StoreError, match="terminating connection"):
        store.feed(folder)
    assert store.sum_costs()[0].calls == 40
    assert store.feed(folder) == 60
    assert [row.id for row in store.read_entries()] == [str(number) for number in range(100)]


def test_a_follower_reads_every_row_while_three_machines_feed_the_store(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row numbers follow the order in which rows become visible, in any order of commits."""
    monkeypatch.setattr("gateway.ledger.ingest._BATCH_LINES", 3)
    folders = [tmp_path / str(number) for number in range(3)]
    for number, place in enumerate(folders):
        place.mkdir()
        say(place, [entry(f"{number}-{call}") for call in range(300)])
        # All machines have this call: each has recovered it.
        say(place, [entry("shared", key=str(number)), reprice(f"{number}-7")], "b")
    over = threading.Event()
    rows: list[StoredRow] = []

    def follow() -> None:
        store, after = PostgresStore(url), None
        while True:
            last = over.is_set()
            page = store.read_entries(after_cursor=after, limit=50)
            rows.extend(page)
            after = page[-1].cursor if page else after
            if last and not page:
                return

    with ThreadPoolExecutor() as pool:
        follower = pool.submit(follow)
        stores = [PostgresStore(url) for _ in folders]
        try:
            changed = sum(pool.map(lambda feeder, place: feeder.feed(place) or 0, stores, folders))
        finally:
            over.set()
        follower.result(timeout=60)
    assert changed == 3 * 300 + 1 + 3
    expected = {f"{number}-{call}" for number in range(3) for call in range(300)} | {"shared"}
    assert {row.id for row in rows} == expected
    cursors = [int(row.cursor.partition(".")[2]) for row in rows]
    assert cursors == sorted(set(cursors))
    assert {row.id for row in rows if row.repriced} == {"0-7", "1-7", "2-7"}


def test_many_processes_may_create_the_tables_at_once(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda _: PostgresStore(url).sum_costs()[0].calls, range(6)))
    assert counts == [0] * 6


def test_a_store_of_a_newer_version_is_an_error(url: str) -> None:
    store = PostgresStore(url)
    store.sum_costs()
    with psycopg.connect(url) as base:
        base.execute("UPDATE ledger SET version = %s", [len(POSTGRES_MIGRATIONS) + 1])
    with pytest.raises(
        StoreError,
        match=r"\(schema \d+\) was made by a newer version of tiergate: update this one, or",
    ):
        PostgresStore(url).sum_costs()


def test_an_older_store_is_migrated(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed(PostgresStore(url), folder, [entry()])
    later = (*POSTGRES_MIGRATIONS, ("CREATE TABLE more (id TEXT)",))
    monkeypatch.setattr("gateway.ledger.postgres.POSTGRES_MIGRATIONS", later)
    newer = PostgresStore(url)
    assert newer.sum_costs()[0].calls == 1
    assert ask(newer, "SELECT version FROM ledger") == [(len(later),)]
    assert ask(newer, "SELECT * FROM more") == []


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/db", "connection"),
        (f"postgresql://me:{SECRET}@no.such.host.invalid/db", "no.such.host.invalid"),
        (f"postgresql://me:a/{SECRET}@127.0.0.1/db", "%40 for @"),
        (f"postgresql://me:a@{SECRET}:x@127.0.0.1/db", "%40 for @"),
        (f"postgresql://me:{SECRET}?x@127.0.0.1:1/db", "connection"),
        (f"postgresql://127.0.0.1/db?passwort={SECRET}", "%40 for @"),
        (f"postgresql://me:{SECRET}@127.0.0.1/db?sslmode={SECRET}", "sslmode"),
        (f"postgresql://me:{SECRET}%40x@127.0.0.1:1/{SECRET}%40x", "connection"),
    ],
)
def test_no_error_shows_the_password(url: str, words: str) -> None:
    with pytest.raises(StoreError) as failed:
        open_store(url).sum_costs()
    assert words in str(failed.value)
    assert SECRET not in str(failed.value)
    assert SECRET not in "".join(traceback.format_exception(failed.value))
