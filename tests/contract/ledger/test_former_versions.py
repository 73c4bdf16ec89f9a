"""Stores and journals of each former version have the same calls and sums in this one."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from gateway.ledger import partitions
from gateway.ledger.postgres import PostgresStore
from gateway.ledger.schema import POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite import SqliteStore
from tests.contract.ledger.conftest import ask, fed
from tests.ledger.postgres import PostgresServer
from tests.ledger.rows import entry

type Json = dict[str, Any]

_LINES = Path(__file__).parents[2] / "ledger" / "former" / "rows.jsonl"
"""Rows of version 3. What earlier rows did not have is taken out of them."""
_TABLES = {"final": "entries", "attempt": "failures", "reprice": "reprices"}
_ROWS: list[Json] = [
    row
    for line in _LINES.read_bytes().splitlines()
    if (row := orjson.loads(line))["kind"] in _TABLES
]
_FIRST_WITH_MEDIA = {"sqlite": 8, "postgres": 7}
"""The first schema with media, of which rows of version 3 were."""

_FIRST_PARTITIONED = 15
_FIRST_WITH_SUMS = {"sqlite": 18, "postgres": 17}
_MARK_PENDING = """
    INSERT INTO rollup_pending SELECT DISTINCT 0, CAST(floor(at / 900) AS BIGINT), 1 FROM entries
    UNION SELECT DISTINCT 1, CAST(floor(at / 86400) AS BIGINT), 1 FROM entries
"""


def find_row_version(kind: str, schema: int) -> int:
    """Return the version of rows that a store of a schema has."""
    if kind == "sqlite" and schema == 1:
        return 1
    return 2 if schema < _FIRST_WITH_MEDIA[kind] else 3


def select_row(row: Json, columns: set[str], version: int) -> Json:
    """Return the members that a row had then."""
    members = {name: value for name, value in row.items() if name in columns}
    return members | ({"v": version} if "v" in columns else {})


def make_sqlite_store(path: Path, schema: int) -> list[Json]:
    """Make a store of a former schema; return the rows that it has no table for."""
    left: list[Json] = []
    with closing(sqlite3.connect(path)) as base:
        for statement in (text for step in SQLITE_MIGRATIONS[:schema] for text in step):
            base.execute(statement)
        for seq, row in enumerate(_ROWS, 1):
            table = _TABLES[row["kind"]]
            columns = {name for _, name, *_ in base.execute(f"PRAGMA table_info({table})")}
            if not columns:
                left.append(row)
                continue
            members = select_row(row, columns, find_row_version("sqlite", schema))
            members |= {"seq": seq} if "seq" in columns else {}
            texts = [
                orjson.dumps(value).decode() if isinstance(value, list | dict) else value
                for value in members.values()
            ]
            marks = ", ".join("?" * len(texts))
            base.execute(f"INSERT INTO {table} ({', '.join(members)}) VALUES ({marks})", texts)  # noqa: S608
        if schema >= _FIRST_WITH_SUMS["sqlite"]:
            base.execute(_MARK_PENDING)
        if schema > 1:
            base.execute("UPDATE ledger SET seq = (SELECT max(seq) FROM entries)")
        base.execute(f"PRAGMA user_version = {schema}")
        base.commit()
    return left


def make_postgres_store(url: str, schema: int) -> None:
    """Make a store of a former schema."""
    with psycopg.connect(url) as base:
        for statement in (text for step in POSTGRES_MIGRATIONS[:schema] for text in step):
            base.execute(statement.encode())
        for table in partitions.PARTITIONED_TABLES if schema >= _FIRST_PARTITIONED else ():
            partitions.make_partitions(
                base, table, {partitions.find_month(row["at"]) for row in _ROWS}
            )
        for seq, row in enumerate(_ROWS, 1):
            table = _TABLES[row["kind"]]
            found = base.execute(f"SELECT * FROM {table} LIMIT 0".encode())  # noqa: S608
            columns = {column.name for column in found.description or ()}
            members = select_row(row, columns, find_row_version("postgres", schema))
            members |= {"seq": seq} if "seq" in columns else {}
            names = ", ".join(members)
            base.execute(
                f"INSERT INTO {table} ({names}) SELECT {names}"  # noqa: S608
                f" FROM jsonb_populate_record(NULL::{table}, %s)".encode(),
                [orjson.dumps(members).decode()],
            )
        if schema >= _FIRST_WITH_SUMS["postgres"]:
            base.execute(_MARK_PENDING)
        base.execute(
            "UPDATE ledger SET version = %s, seq = (SELECT max(seq) FROM entries)", [schema]
        )


def check_sums(store: SqlStore, version: int) -> None:
    """Check the calls and sums of the former rows."""
    costs = {row.id: row.cost for row in store.read_entries()}
    assert costs == {
        "plain": Decimal("0.0000126"), "billed": Decimal("0.004"), "billed-alone": Decimal("0.01"),
        "audio": None, "retried": Decimal("0.003"), "hit": Decimal(0), "repriced": Decimal("0.02"),
    }  # fmt: skip
    assert {row.v for row in store.read_entries()} == {version}
    (total,) = store.sum_costs()
    assert (total.calls, total.unknown, total.cached) == (7, 1, 1)
    assert (total.input, total.cache_read, total.output) == (160, 50, 180)
    assert total.cost == Decimal("0.0370126")
    if version > 1:  # before, rows had no failed attempts, estimates and baselines
        assert (total.wasted, total.estimate) == (Decimal("0.001"), Decimal("0.001"))
        assert total.baseline == Decimal("0.04")
    assert ask(store, "SELECT sum(calls) FROM days") == [(7,)]


def check_new_rows(store: SqlStore, folder: Path) -> None:
    """Check that the store takes rows of this version."""
    (total,) = fed(store, folder, [entry("new", computed_cost=Decimal(1))], "new").sum_costs()
    assert (total.calls, total.cost) == (8, Decimal("0.0370252"))


@pytest.mark.parametrize("schema", range(1, len(SQLITE_MIGRATIONS)))
def test_sqlite_of_each_former_schema_keeps_its_sums(
    tmp_path: Path, folder: Path, schema: int
) -> None:
    path = tmp_path / "ledger.db"
    left = make_sqlite_store(path, schema)
    store = SqliteStore(f"sqlite:///{path}")
    fed(store, folder, [orjson.dumps(row) + b"\n" for row in left if row["kind"] == "reprice"])
    assert ask(store, "PRAGMA user_version") == [(len(SQLITE_MIGRATIONS),)]
    check_sums(store, find_row_version("sqlite", schema))
    check_new_rows(store, folder)


@pytest.mark.parametrize("schema", range(1, len(POSTGRES_MIGRATIONS)))
def test_postgresql_of_each_former_schema_keeps_its_sums(
    postgres: PostgresServer, folder: Path, schema: int
) -> None:
    url = postgres.make_schema()
    make_postgres_store(url, schema)
    store = PostgresStore(url)
    check_sums(store, find_row_version("postgres", schema))
    assert ask(store, "SELECT version FROM ledger") == [(len(POSTGRES_MIGRATIONS),)]
    check_new_rows(store, folder)


@pytest.mark.parametrize(("version", "schema"), [(1, 1), (2, 2), (3, 8)])
def test_a_journal_of_each_former_version_has_the_same_sums(
    store: SqlStore, folder: Path, tmp_path: Path, version: int, schema: int
) -> None:
    """A row lacks the members that came later."""
    columns = {"kind", "v", "attempt"}
    with closing(sqlite3.connect(tmp_path / "former.db")) as base:
        for statement in (text for step in SQLITE_MIGRATIONS[:schema] for text in step):
            base.execute(statement)
        for table in ("entries", "failures", "reprices"):
            columns |= {name for _, name, *_ in base.execute(f"PRAGMA table_info({table})")}
    rows = [select_row(row, columns, version) for row in _ROWS]
    fed(store, folder, [orjson.dumps(row) + b"\n" for row in rows])
    check_sums(store, version)
