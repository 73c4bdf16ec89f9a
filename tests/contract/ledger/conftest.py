"""Shared fixtures of the store contracts: empty stores of each kind, and journals to feed them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.core.ledger_rows import Row
from gateway.ledger.journal import encode_row
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite import SqliteStore
from tests.ledger.clickhouse import ClickHouseServer, clickhouse_server
from tests.ledger.postgres import PostgresServer

type Make = Callable[[], SqlStore]

_RUN = count(1)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """Start ClickHouse's engine, once for the whole run."""
    with clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as running_server:
        yield running_server


@pytest.fixture(scope="session")
def empty_schemas() -> list[str]:
    """URLs of schemas with tables that an earlier test made, and without its rows."""
    return []


@pytest.fixture(params=["sqlite", "postgres"])
def make(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_schemas: list[str],
) -> Iterator[Make]:
    """Return a function that makes empty stores of one kind."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield lambda: SqliteStore(f"sqlite:///{folder / f'{next(_RUN)}.db'}")
        return
    from gateway.ledger.postgres import PostgresStore  # noqa: PLC0415 - needs its driver

    running: PostgresServer = request.getfixturevalue("postgres")
    used: list[str] = []

    def make_store() -> SqlStore:
        used.append(empty_schemas.pop() if empty_schemas else running.make_schema())
        return PostgresStore(used[-1])

    yield make_store
    for url in used:  # to make the tables anew takes far longer
        running.empty(url)
        empty_schemas.append(url)


@pytest.fixture
def store(make: Make) -> SqlStore:
    return make()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def say(folder: Path, rows: Iterable[Row | bytes], name: str = "a") -> int:
    """Append rows, and raw lines as they are, to a segment; return its size."""
    path = folder / f"{name}.jsonl"
    with path.open("ab") as file:
        file.writelines(row if isinstance(row, bytes) else encode_row(row) for row in rows)
    return path.stat().st_size


def ask(store: SqlStore, sql: str) -> list[tuple[object, ...]]:
    with store.open_reader() as base:
        return [tuple(row) for row in base.execute(sql).fetchall()]


def fed(store: SqlStore, folder: Path, rows: Iterable[Row | bytes], name: str = "a") -> SqlStore:
    """Feed rows to a store and return it."""
    say(folder, rows, name)
    store.feed(folder)
    return store
