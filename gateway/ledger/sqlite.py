"""The store of one machine: a SQLite file. Amounts of money are exact decimal text."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from itertools import chain, compress, count
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, cast

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import FinalRow
from gateway.ledger import sqlite_damage
from gateway.ledger.errors import (
    QueryTooLongError,
    StoreDamagedError,
    StoreError,
    StoreRebuildingError,
)
from gateway.ledger.file_lock import lock_file
from gateway.ledger.ingest import RowBatch
from gateway.ledger.query import Slots, SqlDialect
from gateway.ledger.recovery import read_removed_until
from gateway.ledger.rollup_schema import SqliteRollupSql
from gateway.ledger.schema import (
    ENTRY_COLUMNS,
    ENTRY_CONFLICT_CLAUSE,
    SQLITE_MIGRATIONS,
    build_inserts,
)
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite_columns import (
    ATTEMPT_ENCODER,
    DAMAGE_ENCODER,
    ENTRY_ENCODER,
    FEEDBACK_ENCODER,
    REPRICE_ENCODER,
    Column,
    encode_value,
)
from gateway.ledger.sqlite_damage import GarbledValueError, Identity
from gateway.ledger.store import Rebuild
from gateway.settings.data_folder import SQLITE_SCHEME
from gateway.state.errors import describe_newer

# After a checkpoint the WAL keeps up to 8 MB: twice what usually gathers.
_WAL_SIZE_LIMIT = "PRAGMA journal_size_limit = 8388608"

# Sums are exact: the default of 28 digits would round a large sum of very small costs.
_EXACT_CONTEXT = Context(prec=100)

_GONE_REASON = "it was gone"
_EMPTY_REASON = "it was empty"
_REBUILD_HINT = "the gateway rebuilds it from the journals"
_MAX_FEED_TRIES = 3  # all but the last may find the file damaged, gone or half made
_STEPS_BETWEEN_CHECKS = 10_000  # of SQLite's machine, between looks at the clock
_MAX_NAMED_TABLES = 3  # missing tables named in an error
_ZERO = Decimal(0)
_NO_SUMS = [None] * 6
_SUM_CHUNK_ROWS = 1000  # rows added up at a time

_COMPARED_CONDITION = "baseline IS NOT NULL"
_TEXTS_SUBQUERY = "(SELECT value FROM json_each(?))"
_LIST_COLUMNS = frozenset({"tags", "dropped", "guards"})
_MAP_COLUMNS = frozenset({"cache_write_by", "tools", "media"})
_MONEY_COLUMNS = frozenset(
    {
        *("cost", "wasted", "estimate", "billed", "computed_cost", "reserved", "baseline"),
        "switch_cost",
    }
)


class SqliteStore(SqlStore):
    """A SQLite file in WAL mode: any number of processes read while one feeds.

    `url` is sqlite:///relative/path or sqlite:////absolute/path; a missing file is created. Every
    operation has its own connection, so any thread may use a store. After `keep_connection`,
    consecutive feeds share one. Closing the last connection is expensive: SQLite first copies the
    whole WAL into the file and syncs it. Raises StoreError.
    """

    sql_dialect: ClassVar = SqlDialect(
        placeholder="?",
        bind_texts=lambda texts: jsonio.dumps(texts).decode(),
        membership_test=f"{{}} IN {_TEXTS_SUBQUERY}",
        list_test=f"EXISTS (SELECT 1 FROM json_each({{}}) WHERE value IN {_TEXTS_SUBQUERY})",  # noqa: S608
        list_join="LEFT JOIN json_each({column}) AS {name}",
    )
    rollup_sql: ClassVar = SqliteRollupSql()
    # One aggregate for all sums: calls into Python are the main cost of such a query. The first two
    # arguments are the cost of calls with a baseline, and the cost of all other calls.
    money_columns: ClassVar = f"""usd(
        CASE WHEN {_COMPARED_CONDITION} THEN cost END,
        CASE WHEN NOT {_COMPARED_CONDITION} THEN cost END,
        wasted, estimate, CASE WHEN cost IS NOT NULL THEN baseline END, reserved
    )"""

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        sleep: Callable[[float], None] = time.sleep,
        on_rebuild: Callable[[Rebuild], object] | None = None,
    ) -> None:
        """Open a store. `on_rebuild` gets each Rebuild of its file, see `open_store`."""
        super().__init__(clock, sleep)
        path = url.removeprefix(SQLITE_SCHEME)
        if path in {url, "", ":memory:"}:
            raise StoreError(f"the ledger's store is written {SQLITE_SCHEME}PATH")
        self.path = Path(path)
        self._on_rebuild = on_rebuild
        self._kept_connection: tuple[sqlite3.Connection, Identity | None] | None = None
        """The connection of the last feed while none runs, and the identity of its file."""
        self._lock = Lock()
        self._file_fed_by_others: object = None
        """The identity of the file when another process was last seen feeding it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite_damage.read_identity(self.path)
        try:
            self._prepare()
        except sqlite3.Error as error:
            failure = self._convert_error(error, file or sqlite_damage.read_identity(self.path))
            # A damaged copy of the journals must not keep a gateway from starting.
            if on_rebuild is None or not isinstance(
                failure, StoreRebuildingError | StoreDamagedError
            ):
                raise failure from error

    @contextmanager
    def open_reader(self) -> Iterator[sqlite3.Connection]:
        """Open a read-only connection; all its queries see one moment.

        Raises StoreRebuildingError while the store does not have all rows.
        """
        with self.open_writer() as connection:
            connection.execute("PRAGMA query_only = ON")
            # Any: sqlite3's stub only knows aggregates with one argument that return a number.
            connection.create_aggregate("usd", 6, cast("Any", _Sums))
            connection.execute("BEGIN")
            if _is_rebuilding(connection):
                self._fed_folders.clear()  # the store may be rebuilt within the same file
                (rows,) = connection.execute("SELECT seq FROM ledger").fetchone()
                raise _make_rebuilding_error(f"{rows:,} rows so far")
            yield connection

    @contextmanager
    def open_writer(self) -> Iterator[sqlite3.Connection]:
        """Open a connection without a transaction."""
        file = sqlite_damage.read_identity(self.path)
        try:
            with closing(sqlite_damage.connect(self.path)) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except sqlite3.Error as error:
            raise self._convert_error(error, file) from error

    @contextmanager
    def open_feeder(self) -> Iterator[sqlite3.Connection]:
        """Open a connection without a transaction: the last feed's, if connections are kept."""
        if not self._keeps_connection:
            with self.open_writer() as connection:
                yield connection
            return
        file = sqlite_damage.read_identity(self.path)
        try:
            connection = self._take_kept_connection(file) or self._connect_feeder()
            try:
                yield connection
            except BaseException:
                connection.close()  # an open transaction is rolled back
                raise
            self._keep_or_close(connection, file)
        except sqlite3.Error as error:
            raise self._convert_error(error, file) from error

    def feed(self, folder: Path) -> int | None:
        """Feed new rows from a folder's journals, see `LedgerStore.feed`.

        A damaged file is set aside, and the new one is fed at once.
        """
        changed_rows = self._feed_with_retries(folder)
        if changed_rows is None:
            file = self.read_identity()
            if self._ingest_state.rebuilding or file != self._file_fed_by_others:
                with self.open_writer() as connection:
                    self._set_rebuilding(rebuilding=_is_rebuilding(connection))
                self._file_fed_by_others = file
        return changed_rows

    def _feed_with_retries(self, folder: Path, tries_left: int = _MAX_FEED_TRIES) -> int | None:
        try:
            return super().feed(folder)
        except StoreRebuildingError:
            if tries_left == 1:
                raise
            return self._feed_with_retries(folder, tries_left - 1)

    def read_identity(self) -> object:
        """Return the identity of the file at the path."""
        return sqlite_damage.read_identity(self.path)

    def mark_complete(self, connection: sqlite3.Connection, folder: Path, timestamp: float) -> None:
        """Note that a new file has all rows, and until when rows may be missing."""
        self._set_rebuilding(rebuilding=False)
        rebuilds = connection.execute(
            "SELECT reason, aside FROM rebuilds WHERE done IS NULL"
        ).fetchall()
        if not rebuilds:
            return
        missing_until = read_removed_until(folder)
        with self.transaction(connection):
            sql = "UPDATE rebuilds SET done = ?, missing_until = ? WHERE done IS NULL"
            connection.execute(sql, (timestamp, missing_until))
        for reason, aside_name in rebuilds:
            # The first file of a ledger replaces no other.
            if self._on_rebuild is not None and (reason or missing_until is not None):
                self._on_rebuild(
                    Rebuild(reason, aside_name, done=True, missing_until=missing_until)
                )

    def read_missing_until(self) -> float | None:
        """Return the moment before which rows may be missing; see LedgerStore."""
        with self.open_reader() as connection:
            (value,) = connection.execute("SELECT max(missing_until) FROM rebuilds").fetchone()
            missing_until: float | None = value
        return missing_until

    def close(self) -> None:
        """Close the kept connection; one in use closes after its feed."""
        with self._lock:
            self._keeps_connection = False
            kept_connection, self._kept_connection = self._kept_connection, None
        if kept_connection is not None:
            kept_connection[0].close()

    @contextmanager
    def limit_time(
        self, connection: sqlite3.Connection, max_seconds: float | None
    ) -> Iterator[None]:
        """Limit the time of the queries of a block, see `SqlStore.limit_time`."""
        if max_seconds is None:
            yield
            return
        deadline = time.monotonic() + max_seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise QueryTooLongError(max_seconds) from None
            raise
        finally:
            connection.set_progress_handler(None, 0)

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Begin a transaction for a block."""
        connection.execute("BEGIN IMMEDIATE")
        yield  # after an error, closing the connection rolls back
        connection.execute("COMMIT")

    def put(self, connection: sqlite3.Connection, batch: RowBatch) -> int:
        """Store rows. Return how many rows changed the store."""
        changed_rows = 0
        seq = self.reserve_numbers(connection, len(batch.entries) + len(batch.reprices))
        self.rollups.mark_batch(connection, batch)
        if batch.entries:
            changed_rows += _insert_entries(connection, batch.entries, seq, self.yield_to_calls)
            self.yield_to_calls()
        if batch.attempts:
            rows = ATTEMPT_ENCODER.encode_rows(batch.attempts)
            changed_rows += connection.executemany(_INSERT_ATTEMPT, rows).rowcount
        for seq_number, (reprice, reprice_values) in enumerate(
            zip(batch.reprices, REPRICE_ENCODER.encode_rows(batch.reprices), strict=True),
            seq + len(batch.entries),
        ):
            if connection.execute(_INSERT_REPRICE, reprice_values).rowcount:
                changed_rows += 1
                connection.execute(
                    "UPDATE entries SET seq = ? WHERE id = ?", (seq_number, reprice.id)
                )
        if batch.feedback:
            rows = FEEDBACK_ENCODER.encode_rows(batch.feedback)
            changed_rows += connection.executemany(_INSERT_FEEDBACK, rows).rowcount
        if batch.damages:
            connection.executemany(_INSERT_DAMAGE, DAMAGE_ENCODER.encode_rows(batch.damages))
        return changed_rows

    def build_slot_expression(
        self, connection: sqlite3.Connection, slots: Slots
    ) -> tuple[str, list[object]]:
        """Return an expression for the position of `at` among the slots, and its values."""
        gaps = {
            next_start - start
            for start, next_start in zip(slots.starts, slots.starts[1:], strict=False)
        }
        if len(gaps) == 1:  # no call into Python for each row, which calls would wait for
            expression = "min(CAST((c.at - ?) / ? AS INTEGER) + 1, ?)"
            return expression, [slots.starts[0], gaps.pop(), len(slots.starts)]
        connection.create_function("place", 1, slots.find_position, deterministic=True)
        return "place(c.at)", []

    def decode_value(self, name: str, value: Any) -> Any:
        """Decode a column's value into a row's field."""
        if value is None:
            return None
        try:
            return _decode_value(name, value)
        except (ArithmeticError, ValueError, AttributeError) as error:
            raise GarbledValueError(
                f"the column {name} has a value that no gateway writes"
            ) from error

    def encode_value(self, name: str, value: Any) -> Any:
        """Encode a row's field as a column's value."""
        return encode_value(name, value)

    def reserve_numbers(self, connection: sqlite3.Connection, count: int) -> int:
        """Reserve numbers for the order in which rows come in. Return the first."""
        if not count:
            return 0
        sql = "UPDATE ledger SET seq = seq + ? RETURNING seq"
        last_number: int = connection.execute(sql, (count,)).fetchone()[0]
        return last_number - count + 1

    def begin_erasure(self, connection: sqlite3.Connection) -> None:
        """Let SQLite overwrite what it deletes."""
        connection.execute("PRAGMA secure_delete = ON")

    def end_erasure(self, connection: sqlite3.Connection) -> None:
        """Remove older versions of changed rows from the WAL, unless a reader needs them."""
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def decode_sums(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row of `sum_costs` with the six of query.MONEY at its end."""
        *group_values, texts = row
        sums = [Decimal(text) if text else None for text in texts.split(" ")] if texts else _NO_SUMS
        compared_cost, other_cost, wasted, estimate, baseline, reserved = sums
        cost, saved = other_cost, None
        if compared_cost is not None:
            cost = _EXACT_CONTEXT.add(compared_cost, other_cost or _ZERO)
            saved = _EXACT_CONTEXT.subtract(baseline or _ZERO, compared_cost)
        return [*group_values, cost, wasted, estimate, baseline, saved, reserved]

    def _connect_feeder(self) -> sqlite3.Connection:
        """Open a connection for later feeds of any thread."""
        connection = sqlite_damage.connect(self.path, shared=True)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_WAL_SIZE_LIMIT)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _take_kept_connection(self, file: Identity | None) -> sqlite3.Connection | None:
        """Return the kept connection, unless it is one to another file than that at the path."""
        with self._lock:
            kept_connection, self._kept_connection = self._kept_connection, None
        if kept_connection is None:
            return None
        connection, kept_file = kept_connection
        if kept_file == file:
            return connection
        connection.close()
        return None

    def _keep_or_close(self, connection: sqlite3.Connection, file: Identity | None) -> None:
        with self._lock:
            if self._keeps_connection and self._kept_connection is None:
                self._kept_connection = connection, file
                return
        connection.close()

    def _prepare(self, reason: str = "", aside_name: str | None = None) -> bool:
        """Create a missing file and upgrade it to this version. Return True if it was created.

        `reason` is the defect of the old file, and `aside_name` the name that it has now.
        """
        # SQLite refuses to turn WAL on while another process reads, whatever the timeout.
        with lock_file(sqlite_damage.lock_path(self.path)):
            return self._make_file(reason, aside_name)

    def _make_file(self, reason: str, aside_name: str | None) -> bool:
        """Do the work of `_prepare` for a caller that holds the lock."""
        is_new = sqlite_damage.make_file(self.path)
        with closing(sqlite_damage.connect(self.path)) as connection:
            self._migrate(connection, reason if is_new else _EMPTY_REASON, aside_name)
        return is_new

    def _convert_error(self, error: sqlite3.Error, file: Identity | None) -> StoreError:
        """Return the StoreError to raise in place of an error of SQLite.

        With `on_rebuild` the store sets a damaged file aside and recreates a missing one: the
        result is then a StoreRebuildingError.
        """
        text = f"{self.path}: {error}"
        try:
            if self._on_rebuild is not None and self._is_replaced(error, file):
                return _make_rebuilding_error("its file was gone")
            if sqlite_damage.is_damage(error, self.path):
                return self._set_aside(str(error), file)
            if self._on_rebuild is not None and sqlite_damage.lacks_something(error):
                return _make_rebuilding_error(
                    "its file was gone"
                )  # and another process has recreated it
        except StoreDamagedError as damaged_error:
            return damaged_error
        except (OSError, sqlite3.Error) as rebuild_error:
            return StoreError(f"{text}; the gateway cannot rebuild it: {rebuild_error}")
        if sqlite_damage.read_identity(self.path) is None:
            text += f"; {_REBUILD_HINT}"
        elif sqlite_damage.is_access_denied(error):
            text += f"; the user with the id {os.geteuid()} must be able to read and write it"
        return StoreError(text)

    def _is_replaced(self, error: sqlite3.Error, file: Identity | None) -> bool:
        """True if another file is at the path by now, or if this call recreates a missing one."""
        current_file = sqlite_damage.read_identity(self.path)
        if current_file is None:
            if self._prepare(_GONE_REASON):
                self._report_rebuild(Rebuild(_GONE_REASON, None))
            return True
        if current_file != file:
            return True
        if sqlite_damage.lacks_something(error) and sqlite_damage.is_blank(self.path):
            self._prepare()
            self._report_rebuild(Rebuild(_EMPTY_REASON, None))
            return True
        return False

    def _set_aside(self, reason: str, file: Identity | None) -> StoreError:
        if self._on_rebuild is None:
            return StoreDamagedError(f"{self.path}: {reason}; move it away: {_REBUILD_HINT}")
        with lock_file(
            sqlite_damage.lock_path(self.path)
        ):  # else a process that starts meanwhile would create a first file
            aside_path = sqlite_damage.set_aside(self.path, file, self._clock())
            self._make_file(reason, None if aside_path is None else aside_path.name)
        if aside_path is not None:  # else another process was first, or removed the file
            self._report_rebuild(Rebuild(reason, aside_path.name))
        return _make_rebuilding_error("its file was damaged")

    def _report_rebuild(self, rebuild: Rebuild) -> None:
        self._set_rebuilding(rebuilding=True)
        self._fed_folders.clear()
        if self._on_rebuild is not None:
            self._on_rebuild(rebuild)

    def _set_rebuilding(self, *, rebuilding: bool) -> None:
        self._ingest_state = msgspec.structs.replace(self._ingest_state, rebuilding=rebuilding)

    def _migrate(self, connection: sqlite3.Connection, reason: str, aside_name: str | None) -> None:
        """Upgrade a file. Raises GarbledValueError if it lacks tables of its version.

        For `reason` and `aside_name` of an empty file, see `_prepare`.
        """
        version, missing_names = _read_version(connection), sqlite_damage.list_missing(connection)
        if sqlite_damage.is_foreign(connection):
            raise StoreError(f"{self.path} is a database of another program")
        if version == len(SQLITE_MIGRATIONS):
            if missing_names:
                raise GarbledValueError(f"it lacks {', '.join(missing_names[:_MAX_NAMED_TABLES])}")
            return
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise GarbledValueError("it has tables, and no version")
        connection.execute("PRAGMA journal_mode = WAL")
        with self.transaction(connection):
            if version > len(SQLITE_MIGRATIONS):
                raise StoreError(describe_newer(f"{self.path} (schema {version})"))
            for statements in SQLITE_MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(SQLITE_MIGRATIONS)}")
            if version == 0:  # in this transaction: every reader must see that rows are missing
                sql = "INSERT INTO rebuilds (at, reason, aside) VALUES (?, ?, ?)"
                connection.execute(sql, (self._clock(), reason, aside_name))


class _Sums:
    """The SQL aggregate `usd`: the exact sum of each argument, which are decimal texts.

    The result is a text of all sums, separated by spaces; a sum without values is empty.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[str | None, ...]] = []
        self._totals: list[Decimal | None] = []

    def step(self, *row: str | None) -> None:
        self._rows.append(row)
        if len(self._rows) == _SUM_CHUNK_ROWS:
            self._add_rows()

    def finalize(self) -> str:
        self._add_rows()
        return " ".join("" if total is None else format(total, "f") for total in self._totals)

    def _add_rows(self) -> None:
        if not self._rows:  # all rows were added already
            return
        # Added many at a time: one by one in `step` takes three times as long.
        with localcontext(_EXACT_CONTEXT):
            columns = [
                [*map(Decimal, filter(None, column))] for column in zip(*self._rows, strict=True)
            ]
            totals = self._totals or [None] * len(columns)
            self._totals = [
                sum(values, total or _ZERO) if values else total
                for total, values in zip(totals, columns, strict=False)
            ]
        self._rows.clear()


def _insert_entries(
    connection: sqlite3.Connection,
    entries: list[FinalRow],
    seq: int,
    yield_to_calls: Callable[[], object],
) -> int:
    """Store entries with their numbers, with rests in between. Return how many rows changed."""
    changed_rows = start = 0
    count = len(entries)
    columns = [*ENTRY_ENCODER.encode_columns(entries, yield_to_calls), range(seq, seq + count)]
    for row_count in _STATEMENT_ROWS:
        end = count - (count - start) % row_count
        if end > start:
            part = [column[start:end] for column in columns]
            changed_rows += _insert_columns(connection, part, row_count, yield_to_calls)
        start = end
    return changed_rows


def _insert_columns(
    connection: sqlite3.Connection,
    columns: Sequence[Column],
    row_count: int,
    yield_to_calls: Callable[[], object],
) -> int:
    """Store encoded entries, `row_count` in a statement. Return how many rows changed.

    Binding the values one by one is most of the cost of a row, and in a busy moment most values
    are the same in all rows. So a column with one value is bound once for many rows.
    """
    changed_rows, count = 0, len(columns[0])
    common_flags = tuple(
        [
            row_count > 1 and column[0] == column[-1] and column.count(column[0]) == count
            for column in columns
        ]
    )
    common_values = [column[0] for column in compress(columns, common_flags)]
    varying_columns = [
        column for column, is_common in zip(columns, common_flags, strict=True) if not is_common
    ]
    values = [*chain.from_iterable(zip(*varying_columns, strict=True))]
    sql, width = _build_bulk_insert(common_flags, row_count), len(varying_columns) * row_count
    for offset in range(0, len(values), width):
        yield_to_calls()
        changed_rows += connection.execute(
            sql, common_values + values[offset : offset + width]
        ).rowcount
    return changed_rows


@lru_cache(64)
def _build_bulk_insert(common_flags: tuple[bool, ...], row_count: int) -> str:
    """Build a statement that stores entries which share some columns.

    It takes the values of the shared columns first, then those of the others row by row.
    """
    columns, names = (*ENTRY_COLUMNS, "seq"), (f"column{index}" for index in count(1))
    cells = ", ".join("?" if is_common else next(names) for is_common in common_flags)
    row = f"({', '.join('?' * (len(common_flags) - sum(common_flags)))})"
    placeholders = ", ".join([row] * row_count)
    return (
        f"INSERT INTO entries ({', '.join(columns)}) SELECT {cells}"  # noqa: S608
        f" FROM (VALUES {placeholders}) WHERE true ON CONFLICT {ENTRY_CONFLICT_CLAUSE}"
    )


def _decode_value(name: str, value: Any) -> Any:
    if name in _MONEY_COLUMNS:
        return Decimal(value)
    if name in _LIST_COLUMNS:
        return tuple(jsonio.loads(value.encode()))
    if name in _MAP_COLUMNS:
        return jsonio.loads(value.encode())
    if name == "units":
        units = jsonio.loads(value.encode())
        return {unit: Decimal(quantity) for unit, quantity in units.items()}
    if name == "basis":
        return _parse_basis(value.encode())
    return bool(value) if name == "stream" else value


def _is_rebuilding(connection: sqlite3.Connection) -> bool:
    """True if the file replaced another and does not have all rows of the journals yet."""
    sql = "SELECT EXISTS (SELECT 1 FROM rebuilds WHERE done IS NULL AND reason <> '')"
    return bool(connection.execute(sql).fetchone()[0])


def _make_rebuilding_error(detail: str) -> StoreRebuildingError:
    return StoreRebuildingError(
        f"the gateway is rebuilding its store from the journals ({detail}); try again in a while"
    )


def _read_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


_INSERT_ATTEMPT, _INSERT_REPRICE, _INSERT_FEEDBACK, _INSERT_DAMAGE = build_inserts("?")

_STATEMENT_ROWS = (64, 8, 1)
"""The entries in a statement, as many as there are. Each statement releases the interpreter, and
must get it back from the thread that serves calls."""

_parse_basis = jsonio.make_reader(DecisionRecord)
