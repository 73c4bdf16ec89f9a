"""The store of many machines: a PostgreSQL database, fed from the journals of each."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import AttemptRow, FinalRow
from gateway.ledger import partitions
from gateway.ledger.errors import QueryTooLongError, StoreError
from gateway.ledger.ingest import RowBatch, make_storable
from gateway.ledger.query import Slots, SqlDialect
from gateway.ledger.rollup_schema import PostgresRollupSql
from gateway.ledger.schema import (
    ATTEMPT_COLUMNS,
    DAMAGE_COLUMNS,
    ENTRY_COLUMNS,
    FEEDBACK_COLUMNS,
    POSTGRES_MIGRATIONS,
    REPRICE_COLUMNS,
    build_insert,
    build_inserts,
)
from gateway.ledger.sql_store import FEED_LOCK, SqlStore
from gateway.state.errors import describe_newer

try:
    import psycopg
    from psycopg.types.json import Jsonb

    from gateway.ledger.postgres_connections import Connection, PostgresConnections
    from gateway.state import postgres_url
except ImportError as error:  # pragma: no cover - the extra is there where tests run
    raise StoreError(
        "a PostgreSQL store needs a driver: pip install 'tiergate[postgres]'"
    ) from error

_MIGRATION_LOCK_ID = 0x7469_6572_6761_7465  # "tiergate", locked to create or change tables
_CONNECTION_OPTIONS = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 20_000,  # milliseconds: do not wait longer for a server that is gone
    "keepalives_idle": 10,  # seconds: notice it on a kept connection
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "tiergate",
}
_FIRST_PARTITIONED_VERSION = 15
_MIGRATION_TRIES, _MIGRATION_WAIT_SECONDS = 100, 0.1
"""Tries for the lock of migrations, and seconds between them."""
_MIGRATION_LOCK_WAIT = "SET LOCAL lock_timeout = '5s'"
"""The time for which a migration waits for queries, and new queries for it."""
_QUERY_CONNECTIONS = 2
"""The maximum number of connections for queries; a feed has one of its own."""
_LIST_COLUMNS = frozenset({"tags", "dropped", "guards"})
_, _INSERT_REPRICE, _INSERT_FEEDBACK, _INSERT_DAMAGE = build_inserts("%s")
_INSERT_CRASHED = build_insert("entries", ("seq", *ENTRY_COLUMNS), "%s") + "(id, at) DO NOTHING"
_INSERT_ATTEMPT = build_insert("failures", ATTEMPT_COLUMNS, "%s") + "(id, attempt, at) DO NOTHING"
_ID_PLACE = ENTRY_COLUMNS.index("id")
_FIND_INCOMING = "SELECT to_regclass('pg_temp.incoming')"
_CREATE_INCOMING = (
    "CREATE TEMPORARY TABLE incoming (LIKE entries INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
)
_COPY_INCOMING = f"COPY incoming (seq, {', '.join(ENTRY_COLUMNS)}) FROM STDIN"
_INSERT_INCOMING = f"""
    INSERT INTO entries (seq, {", ".join(ENTRY_COLUMNS)})
    SELECT %s + seq, {", ".join(ENTRY_COLUMNS)} FROM incoming ON CONFLICT (id, at) DO NOTHING
"""  # noqa: S608 - columns of the schema
_DELETE_CRASHED = "DELETE FROM entries WHERE state = 'unknown_crash' AND id = ANY(%s)"
_INSERT_REPRICE = f"""
    WITH new AS ({_INSERT_REPRICE} RETURNING id),
    moved AS (UPDATE entries SET seq = %s WHERE id IN (SELECT id FROM new))
    SELECT count(*) FROM new
"""  # noqa: S608 - a statement of the schema

type _Cursor = psycopg.Cursor[tuple[Any, ...]]
type _EncodedRow = tuple[int, list[object]]


class PostgresStore(SqlStore):
    """A PostgreSQL database; any number of machines feed it, each from its own journals.

    Its tables are where the connection's search path points. After `keep_connection` a process
    keeps at most two connections for queries and one for feeds, while it uses them. A server that
    is down only makes the store lag behind. Raises StoreError.
    """

    sql_dialect: ClassVar = SqlDialect(
        placeholder="%s",
        bind_texts=lambda texts: texts,
        membership_test="{} = ANY(%s::text[])",
        list_test="{} && %s::text[]",
        list_join="LEFT JOIN LATERAL unnest({column}) AS {name} (value) ON true",
    )
    rollup_sql: ClassVar = PostgresRollupSql()
    money_columns: ClassVar = (
        "sum(cost), sum(wasted), sum(estimate), sum(baseline) FILTER (WHERE cost IS NOT NULL),"
        " sum(saved), sum(reserved)"
    )

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        sleep: Callable[[float], None] = time.sleep,
        feed_lock: str = FEED_LOCK,
    ) -> None:
        super().__init__(clock, sleep, feed_lock)
        try:
            url_options = postgres_url.parse(url)
        except ValueError as error:
            raise StoreError(f"the ledger's store {error}") from None
        self._options: dict[str, Any] = {**_CONNECTION_OPTIONS, **url_options}
        self._is_migrated = False
        self._known_months: dict[str, set[partitions.Month]]
        """The months whose partitions exist, by table."""
        self._forget_months()
        # A feed does not wait for queries. Their plans depend on their values.
        self._query_connections = PostgresConnections(
            lambda: self._connect(prepare_threshold=None), _QUERY_CONNECTIONS
        )
        self._feed_connections = PostgresConnections(self._connect, 1)

    @contextmanager
    def open_reader(self) -> Iterator[Connection]:
        """Open a read-only connection; all its queries see one moment."""
        with self.open_writer() as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                yield connection
            connection.read_only = connection.isolation_level = None

    def open_writer(self) -> AbstractContextManager[Connection]:
        """Open a connection without a transaction."""
        return self._open(self._query_connections)

    def open_feeder(self) -> AbstractContextManager[Connection]:
        """Open a connection without a transaction, for a feed."""
        return self._open(self._feed_connections)

    def keep_connection(self) -> None:
        """Keep connections between uses, see `LedgerStore.keep_connection`."""
        super().keep_connection()
        self._query_connections.keep()
        self._feed_connections.keep()

    def close(self) -> None:
        """Close the kept connections; one in use closes after its use."""
        self._query_connections.close()
        self._feed_connections.close()

    @contextmanager
    def _open(self, connections: PostgresConnections) -> Iterator[Connection]:
        try:
            with connections.connection() as connection:
                if not self._is_migrated:
                    self._migrate(connection)
                    self._is_migrated = True
                yield connection
        except psycopg.Error as error:
            self._forget_months()  # a new partition was undone, or another process dropped one
            # Without its frames, which refer to the error, in a cycle.
            message = postgres_url.describe_error(error.with_traceback(None), self._options)
            raise StoreError(f"the ledger's PostgreSQL store: {message}") from None

    def _connect(self, **options: Any) -> Connection:
        return psycopg.connect(**self._options, autocommit=True, **options)

    @contextmanager
    def limit_time(self, connection: Connection, max_seconds: float | None) -> Iterator[None]:
        """Limit the time of each query of a transaction, see `SqlStore.limit_time`."""
        if max_seconds is None:
            yield
            return
        milliseconds = str(max(1, round(max_seconds * 1_000)))
        connection.execute("SELECT set_config('statement_timeout', %s, true)", [milliseconds])
        try:
            yield
        except psycopg.errors.QueryCanceled:
            raise QueryTooLongError(max_seconds) from None

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Begin a transaction for a block."""
        with connection.transaction():
            yield

    def put(self, connection: Connection, batch: RowBatch) -> int:
        """Store rows. Return how many rows changed the store."""
        changed_rows = 0
        self._make_partitions(connection, "entries", batch.entries)
        self._make_partitions(connection, "failures", batch.attempts)
        with connection.cursor() as cursor:
            own_rows, crashed_rows = _encode_entries(batch.entries)
            if own_rows:
                _copy_incoming(cursor, own_rows)
            # Last: other feeds wait from here on.
            seq = self.reserve_numbers(connection, len(batch.entries) + len(batch.reprices))
            self.rollups.mark_batch(connection, batch)
            if own_rows:
                changed_rows += _put_incoming(cursor, own_rows, seq)
            if crashed_rows:
                changed_rows += _put_crashed(cursor, crashed_rows, seq)
            if batch.attempts:
                rows = [_encode_row(ATTEMPT_COLUMNS, row) for row in batch.attempts]
                cursor.executemany(_INSERT_ATTEMPT, rows)
                changed_rows += cursor.rowcount
            if batch.reprices:
                start = seq + len(batch.entries)
                rows = [
                    [*_encode_row(REPRICE_COLUMNS, reprice), start + index]
                    for index, reprice in enumerate(batch.reprices)
                ]
                cursor.executemany(_INSERT_REPRICE, rows, returning=True)
                changed_rows += sum(result.fetchone()[0] for result in cursor.results())  # type: ignore[index]  # count(*) has a row
            if batch.feedback:
                rows = [_encode_row(FEEDBACK_COLUMNS, row) for row in batch.feedback]
                cursor.executemany(_INSERT_FEEDBACK, rows)
                changed_rows += cursor.rowcount
            if batch.damages:
                rows = [_encode_row(DAMAGE_COLUMNS, row) for row in batch.damages]
                cursor.executemany(_INSERT_DAMAGE, rows)
        return changed_rows

    def build_slot_expression(
        self,
        connection: Connection,  # noqa: ARG002 - SQLite needs it
        slots: Slots,
    ) -> tuple[str, list[object]]:
        """Return an expression for the position of `at` among the slots, and its values."""
        return "width_bucket(c.at, %s::float8[])", [slots.starts]

    def decode_value(self, name: str, value: Any) -> Any:
        """Decode a column's value into a row's field."""
        if name == "basis" and value is not None:
            return msgspec.convert(value, DecisionRecord)
        if name == "units":
            return {unit: Decimal(quantity) for unit, quantity in value.items()}
        return tuple(value) if name in _LIST_COLUMNS else value

    def encode_value(self, name: str, value: Any) -> Any:
        """Encode a row's field as a column's value."""
        return _encode_value(make_storable(name, value))

    def read_fed_sizes(self, folder: Path) -> dict[str, int]:
        """Return the bytes of each segment at the end of this process's last feed, by name."""
        return dict(self._fed_folders[folder][1]) if folder in self._fed_folders else {}

    def prune(self, cutoff: float) -> int:
        """Drop whole partitions, and delete other rows, see `LedgerStore.prune`."""
        with self.open_writer() as connection:
            count = partitions.drop_partitions(
                connection, cutoff, partial(self.rollups.forget_until, connection)
            )
        self._forget_months()
        return count + super().prune(cutoff)

    def reserve_numbers(self, connection: Connection, count: int) -> int:
        """Reserve numbers for the order in which rows come in. Return the first.

        Other feeds wait until this transaction ends. So a follower of that order sees no number
        before all lower numbers, and misses nothing.
        """
        if not count:
            return 0
        sql = "UPDATE ledger SET seq = seq + %s RETURNING seq"
        row = connection.execute(sql, [count]).fetchone()
        return int(row[0]) - count + 1 if row else 0

    def _forget_months(self) -> None:
        self._known_months = {
            table: set[partitions.Month]() for table in partitions.PARTITIONED_TABLES
        }

    def _make_partitions(
        self, connection: Connection, table: str, rows: Sequence[FinalRow | AttemptRow]
    ) -> None:
        known_months = self._known_months[table]
        new_months = {partitions.find_month(row.at) for row in rows} - known_months
        if new_months:
            partitions.make_partitions(connection, table, new_months)
            known_months |= new_months

    def _migrate(self, connection: Connection) -> None:
        if _read_version(connection) == len(POSTGRES_MIGRATIONS):
            return
        self._lock_migration(connection)  # an error closes the connection, which unlocks it
        version = _read_version(connection)  # again: another process may have been first
        if version > len(POSTGRES_MIGRATIONS):
            raise StoreError(describe_newer(f"the store (schema {version})"))
        if 0 < version < _FIRST_PARTITIONED_VERSION:
            partitions.prepare_migration(connection, self._clock())
        with connection.transaction():
            connection.execute(_MIGRATION_LOCK_WAIT)
            for statements in POSTGRES_MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement.encode())
            connection.execute("UPDATE ledger SET version = %s", [len(POSTGRES_MIGRATIONS)])
        connection.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK_ID])

    def _lock_migration(self, connection: Connection) -> None:
        """Lock the tables' versions for this connection, without a transaction, which would wait.

        A transaction that waits for a lock would keep the owner of the lock from making an index.
        """
        for _ in range(_MIGRATION_TRIES):
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s)", [_MIGRATION_LOCK_ID]
            ).fetchone()
            if row == (True,):
                return
            self._sleep(_MIGRATION_WAIT_SECONDS)
        raise StoreError("another gateway upgrades the store's tables: try again later")


def _read_version(connection: Connection) -> int:
    # Not to_regclass: within a transaction it may remember that there was no table.
    cursor = connection.execute(
        "SELECT true FROM pg_class WHERE relname = 'ledger' AND pg_table_is_visible(oid)"
    )
    if cursor.fetchone() is None:
        return 0
    row = connection.execute("SELECT version FROM ledger").fetchone()
    return int(row[0]) if row else 0


def _encode_entries(entries: Sequence[FinalRow]) -> tuple[list[_EncodedRow], list[_EncodedRow]]:
    """Return the calls' own rows and recovery's rows, each with its place in the batch."""
    own_rows: list[_EncodedRow] = []
    crashed_rows: list[_EncodedRow] = []
    for place, entry in enumerate(entries):
        rows = crashed_rows if entry.state == "unknown_crash" else own_rows
        rows.append((place, _encode_row(ENTRY_COLUMNS, entry)))
    return own_rows, crashed_rows


def _copy_incoming(cursor: _Cursor, rows: list[_EncodedRow]) -> None:
    """Copy entries into a table of the connection."""
    cursor.execute(_FIND_INCOMING)
    if cursor.fetchone() == (None,):
        cursor.execute(_CREATE_INCOMING)
    with cursor.copy(_COPY_INCOMING) as copy:
        for place, values in rows:
            copy.write_row((place, *values))


def _put_incoming(cursor: _Cursor, rows: list[_EncodedRow], seq: int) -> int:
    """Store copied entries, with numbers from `seq` on. Return how many were new.

    A call's own row replaces recovery's row, which has another time, so another key.
    """
    cursor.execute(_DELETE_CRASHED, [[values[_ID_PLACE] for _, values in rows]])
    cursor.execute(_INSERT_INCOMING, [seq])
    return cursor.rowcount


def _put_crashed(cursor: _Cursor, rows: list[_EncodedRow], seq: int) -> int:
    """Store recovery's rows of calls that have no row. Return how many were new."""
    # Reversed: the first row of a call stays.
    rows_by_id = {values[_ID_PLACE]: [seq + place, *values] for place, values in reversed(rows)}
    cursor.execute("SELECT id FROM entries WHERE id = ANY(%s)", [[*rows_by_id]])
    for (id,) in cursor.fetchall():
        del rows_by_id[id]
    cursor.executemany(_INSERT_CRASHED, [*rows_by_id.values()])
    return len(rows_by_id)


def _encode_row(columns: Sequence[str], row: msgspec.Struct) -> list[object]:
    return [
        None if (value := getattr(row, name)) is None else _encode_value(make_storable(name, value))
        for name in columns
    ]


def _encode_value(value: object) -> object:
    return Jsonb(value, dumps=jsonio.dumps) if isinstance(value, dict) else value
