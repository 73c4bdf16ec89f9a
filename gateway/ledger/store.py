"""The store of one machine: the journals' final rows in SQLite, one row a call, for queries.

It is made from the journals alone and can be made again from them. Money is kept as exact decimal
text; the view `costs` is the table for dashboards and other tools.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import batched
from pathlib import Path

from gateway.core import jsonio
from gateway.core.entry import Entry
from gateway.ledger.journal import rows, segments
from gateway.ledger.lock import MODE, alone, held

_SCHEME = "sqlite:///"
_PATIENCE = 10.0  # seconds to wait for another process that writes
_BATCH = 256  # rows of a transaction: a few ms of work, and a lock that others can wait for
_MOST = 2**40  # tokens; beyond it is no count of a call, and sums must stay within 64 bits

_TOKENS = frozenset({"input", "cache_read", "cache_write", "output", "reasoning"})

_TABLES = (
    """
    CREATE TABLE segments (
        name TEXT PRIMARY KEY,
        offset INTEGER NOT NULL,   -- bytes that have been read
        skipped INTEGER NOT NULL   -- lines of these that were no row
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE entries (
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,          -- seconds since the epoch
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        tags TEXT NOT NULL,        -- a JSON list
        dialect TEXT NOT NULL,
        asked TEXT,
        stream INTEGER NOT NULL,
        state TEXT NOT NULL,
        status INTEGER,
        problem TEXT,
        aborted_by TEXT,
        lab TEXT,
        tier TEXT,
        source TEXT,
        rule TEXT,
        confidence REAL,
        provider TEXT,
        account TEXT,
        model TEXT,
        effort TEXT,
        served TEXT,
        attempts INTEGER NOT NULL,
        cache TEXT NOT NULL,
        dropped TEXT NOT NULL,     -- a JSON list
        input INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        output INTEGER,
        reasoning INTEGER,
        cost TEXT,                 -- USD, exact
        price TEXT,
        first_content REAL,
        duration REAL,
        upstream_id TEXT,
        config TEXT NOT NULL
    )
    """,
    "CREATE INDEX entries_at ON entries (at)",
    # What a provider used and billed: of an answer from the cache, nothing, whatever its recording
    # had used. `unknown`: something was, or may have been, billed, and nobody knows how much.
    """
    CREATE VIEW costs AS SELECT
        id, at, datetime(at, 'unixepoch') AS time, date(at, 'unixepoch') AS day, key, tenant, tags,
        dialect, asked, stream, state, status, problem, aborted_by, lab, tier, source, rule,
        provider, account, model, effort, served, attempts, cache, first_content, duration, price,
        config,
        CASE WHEN state <> 'cache_hit' THEN input END AS input,
        CASE WHEN state <> 'cache_hit' THEN cache_read END AS cache_read,
        CASE WHEN state <> 'cache_hit' THEN cache_write END AS cache_write,
        CASE WHEN state <> 'cache_hit' THEN output END AS output,
        CASE WHEN state <> 'cache_hit' THEN reasoning END AS reasoning,
        CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS cost,
        CAST(CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS REAL)
            AS cost_usd,
        cost IS NULL AND (
            state IN ('settled', 'estimated', 'aborted', 'unknown_crash')
            OR state <> 'cache_hit' AND coalesce(input, 0) + coalesce(cache_read, 0)
                + coalesce(cache_write, 0) + coalesce(output, 0) + coalesce(reasoning, 0) > 0
        ) AS unknown
    FROM entries
    """,
)
MIGRATIONS = (_TABLES,)
"""What leads from each `PRAGMA user_version` to the next; only ever appended to."""


class StoreError(Exception):
    """A store that cannot be used: its URL, or the version that made it."""


class Store:
    """A SQLite file in WAL mode: any number of processes read while one feeds.

    `url` is sqlite:///relative/path or sqlite:////absolute/path; the file is made where there is
    none. Every operation has its own connection, so a store may be used from any thread. Raises
    StoreError, and sqlite3.Error where SQLite cannot open or write it.
    """

    def __init__(self, url: str) -> None:
        path = url.removeprefix(_SCHEME)
        if path in {url, "", ":memory:"}:
            raise StoreError(f"the ledger's store is written {_SCHEME}PATH")
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Made here for its mode, which SQLite gives to the files beside it; never opened here
        # where it exists, since to close it would drop the locks SQLite has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))
        # To turn WAL on is refused at once while anybody looks, whatever the patience.
        with alone(self.path.with_name(f"{self.path.name}.lock")), self._connected() as base:
            self._migrate(base)

    def feed(self, folder: Path) -> int:
        """Read what the journals of a folder have got since; returns how many rows that changed.

        One process feeds at a time: where another does, this does nothing and returns 0.
        """
        if not folder.is_dir():
            return 0
        with held(folder / "feed.lock") as mine:
            if not mine:
                return 0
            with self._connected() as base:
                offsets = dict(base.execute("SELECT name, offset FROM segments").fetchall())
                columns = [row[1] for row in base.execute("PRAGMA table_info(entries)")]
                return sum(
                    _feed(base, columns, path, offsets.get(path.name, 0))
                    for path in segments(folder)
                )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write."""
        with self._connected() as base:
            base.execute("PRAGMA query_only = ON")
            yield base

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        # No implicit transactions: they are written out where they are meant.
        base = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        with closing(base):
            base.execute("PRAGMA synchronous = NORMAL")
            yield base

    def _migrate(self, base: sqlite3.Connection) -> None:
        if _version(base) == len(MIGRATIONS):
            return
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("BEGIN IMMEDIATE")
        version = _version(base)  # again: another process may have been first
        if version > len(MIGRATIONS):
            raise StoreError(f"{self.path} was made by a newer version (schema {version})")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                base.execute(statement)
        base.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        base.execute("COMMIT")


def _version(base: sqlite3.Connection) -> int:
    version: int = base.execute("PRAGMA user_version").fetchone()[0]
    return version


def _feed(base: sqlite3.Connection, columns: Sequence[str], path: Path, offset: int) -> int:
    """Store the rows of one segment from `offset` on; returns how many that changed."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:  # empty: its owner has taken it away, now that it stops
        return 0
    if size == offset:
        return 0
    insert = _insert(columns)
    changed = 0
    # A file shorter than what was read of it is another file.
    for batch in batched(rows(path, offset if offset < size else 0), _BATCH):
        values = [_values(columns, row) for row, _ in batch if isinstance(row, Entry)]
        skipped = sum(row is None for row, _ in batch)
        base.execute("BEGIN IMMEDIATE")
        changed += base.executemany(insert, values).rowcount if values else 0
        base.execute(
            "INSERT INTO segments VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET offset = excluded.offset, skipped = skipped + excluded.skipped",
            (path.name, batch[-1][1], skipped),
        )
        base.execute("COMMIT")
    return changed


def _insert(columns: Sequence[str]) -> str:
    """The statement that stores a row; a call's own row takes the place of recovery's."""
    return f"""
        INSERT INTO entries ({", ".join(columns)}) VALUES ({", ".join("?" * len(columns))})
        ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in columns)}
        WHERE entries.state = 'unknown_crash' AND excluded.state <> 'unknown_crash'
    """  # noqa: S608 - the columns are those of the table


def _values(columns: Sequence[str], entry: Entry) -> list[object]:
    return [_value(name, getattr(entry, name)) for name in columns]


def _value(name: str, value: object) -> object:
    if name == "cost" and value is not None:
        return format(value, "f")
    if isinstance(value, tuple):  # a set in the order it was written: a tag counts once
        return jsonio.dumps(list(dict.fromkeys(value))).decode()
    if name in _TOKENS and isinstance(value, int) and value > _MOST:
        return None
    return value
