"""The common part of both stores: feed them and query them."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.core.ledger_rows import AttemptRow, DamagedRow, FeedbackRow, ReplayRow
from gateway.ledger.call_order import NEWEST_FIRST, CallOrder, CallSearch
from gateway.ledger.errors import QueryTooLongError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.ingest import RowBatch, read_batches, read_folder_id, read_sizes
from gateway.ledger.journal import list_segments
from gateway.ledger.personal_part import PERSONAL_COLUMNS, erase_basis
from gateway.ledger.query import (
    Days,
    Filters,
    QueryGroup,
    Slots,
    SqlDialect,
    build_condition,
    check_names,
)
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.questions import QuestionReader
from gateway.ledger.rollup_check import check_sums, mark_all
from gateway.ledger.rollup_queries import Question
from gateway.ledger.rollup_schema import RollupSql
from gateway.ledger.rollups import Rollups
from gateway.ledger.schema import ATTEMPT_COLUMNS, DAMAGE_COLUMNS, ENTRY_COLUMNS, FEEDBACK_COLUMNS
from gateway.ledger.store import (
    FEED_WAIT_SECONDS,
    MAX_FEED_TRIES,
    IngestState,
    OrderedRows,
    StoredRow,
    SumsReport,
    TierAnswers,
    count_damaged_rows,
)
from gateway.ledger.time_series import LatencyTimes

FEED_LOCK = "feed.lock"
"""The file in a journal's folder that is locked while the gateway's store is fed from there."""
_REST_SECONDS = 0.0002
"""Seconds of a rest: enough for half a call that runs alone."""
_WORK_SECONDS = 0.0004
"""Seconds of work after which a feed rests."""
_LONG_REST_SECONDS = 0.001
"""The length of a rest, in seconds, from which the process or its processor counts as busy."""
_BUSY_WORK_FACTOR = 16
"""The factor by which a feed works longer between rests while busy: calls wait for each other
anyway."""
_SUMS_SECONDS = 0.2
"""Seconds after a feed until it begins no further quarter or day to make sums of."""
_PAGE_ROWS = 500  # rows in memory at a time while many are read
_PRUNE_BATCH_CALLS = 1000  # calls deleted in one transaction
_ORPHANS_QUERY = """
    SELECT DISTINCT id FROM {0} WHERE at < {1}
    AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.id = {0}.id)
"""
_UNPRICED_CONDITION = """(
    (cost IS NULL OR baseline IS NULL) AND input IS NOT NULL AND output IS NOT NULL
    OR cost IS NULL AND units <> '{}'
    OR state = 'failed' AND cost IS NOT NULL AND baseline IS NULL
)"""


_OUTPUT_TOKENS_QUERY = """
    SELECT lab, tier, count(*), sum(output + coalesce(reasoning, 0)) FROM (
        SELECT lab, tier, output, reasoning FROM entries
        WHERE state IN ('settled', 'estimated', 'aborted') AND cache <> 'hit'
        AND output > 0 AND tier IS NOT NULL
        ORDER BY at DESC LIMIT {}
    ) AS answers GROUP BY lab, tier ORDER BY lab, tier
"""


_USER_QUERY = "SELECT id, basis FROM entries WHERE end_user = {0} ORDER BY id LIMIT {0}"
_ERASE_STATEMENT = f"""
    UPDATE entries SET {", ".join(f"{name} = NULL" for name in PERSONAL_COLUMNS)},
    basis = {{0}}, seq = {{0}} WHERE id = {{0}}
"""  # noqa: S608 - columns of a row
_DAMAGES_QUERY = """
    SELECT v, id, segment, problem, first, last, since, until FROM damages
    WHERE until >= {0} AND (since IS NULL OR since < {0}) ORDER BY segment, first, last
"""


class SqlStore(ABC):
    """A store, except for the SQL of its database.

    `clock` returns seconds since the epoch; `sleep` waits a number of seconds for another process.
    `feed_lock` names the lock of feeds in a journal's folder.
    """

    sql_dialect: ClassVar[SqlDialect]
    rollup_sql: ClassVar[RollupSql]
    money_columns: ClassVar[str]
    """The columns that become the six of query.MONEY."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        feed_lock: str = FEED_LOCK,
    ) -> None:
        self._feed_lock = feed_lock
        self._clock = clock
        self._sleep = sleep
        self.rollups = Rollups(self.rollup_sql, self.sql_dialect, self.transaction)
        self._keeps_connection = False
        self._work_seconds = _WORK_SECONDS
        """Seconds of work until the next rest."""
        self._rested_at = 0.0
        """The CPU time of the feeding thread at its last rest, in seconds."""
        self._ingest_state = IngestState()
        self._fed_folders: dict[Path, tuple[object, Mapping[str, int]]] = {}
        """The store's identity (`read_identity`) and the bytes fed of each segment, by folder."""

    @abstractmethod
    def open_reader(self) -> AbstractContextManager[Any]:
        """Open a read-only connection in one transaction: all its queries see one moment."""

    @abstractmethod
    def open_writer(self) -> AbstractContextManager[Any]:
        """Open a connection without a transaction."""

    def open_feeder(self) -> AbstractContextManager[Any]:
        """Open a connection without a transaction, for a feed; may reuse that of the last feed."""
        return self.open_writer()

    @abstractmethod
    def limit_time(
        self, connection: Any, max_seconds: float | None
    ) -> AbstractContextManager[None]:
        """Limit the time of each query of a block; None sets no limit. Raises QueryTooLongError."""

    @abstractmethod
    def transaction(self, connection: Any) -> AbstractContextManager[Any]:
        """Begin a transaction for a block."""

    @abstractmethod
    def put(self, connection: Any, batch: RowBatch) -> int:
        """Store rows within a transaction. Return how many rows changed the store."""

    @abstractmethod
    def build_slot_expression(self, connection: Any, slots: Slots) -> tuple[str, list[object]]:
        """Return an expression for the position of `at` among the slots, and its values."""

    @abstractmethod
    def decode_value(self, name: str, value: Any) -> Any:
        """Decode a column's value into a row's field."""

    @abstractmethod
    def encode_value(self, name: str, value: Any) -> Any:
        """Encode a row's field as a column's value."""

    @abstractmethod
    def reserve_numbers(self, connection: Any, count: int) -> int:
        """Reserve numbers for the order in which rows come in. Return the first."""

    def decode_sums(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row of `sum_costs` with the six of query.MONEY at its end."""
        return row

    def feed(self, folder: Path) -> int | None:
        """Feed new rows from a folder's journals, see `LedgerStore.feed`."""
        started_at = self._clock()
        if not folder.is_dir():
            return 0
        paths = list_segments(folder)
        segment_sizes, store_identity = read_sizes(paths), self.read_identity()
        if segment_sizes and (store_identity, segment_sizes) == self._fed_folders.get(folder):
            self._add_progress(0, None, started_at)
            return 0
        with try_lock_file(folder / self._feed_lock) as locked:
            if not locked:
                return None
            changed_rows, fed_sizes = self._feed_segments(folder, paths, segment_sizes, started_at)
        self._fed_folders[folder] = store_identity, fed_sizes
        self._add_progress(0, None, started_at)
        return changed_rows

    def catch_up(self, folder: Path) -> None:
        """Feed once no other process does, see `LedgerStore.catch_up`."""
        for _ in range(MAX_FEED_TRIES):
            if self.feed(folder) is not None:
                return
            self._sleep(FEED_WAIT_SECONDS)

    def rebuild(self, folder: Path) -> int | None:
        """Replace rows by those of a folder's journals, see `LedgerStore.rebuild`."""
        if not folder.is_dir():
            return 0
        with try_lock_file(folder / self._feed_lock) as locked:
            if not locked:
                return None
            paths, folder_id, stored_rows = list_segments(folder), read_folder_id(folder), 0
            names = self.sql_dialect.bind_texts([path.name for path in paths])
            with self.open_writer() as connection, self.transaction(connection):
                mark_all(connection, self.rollups, self.rollup_sql)
                # All first: a call may have rows in two segments.
                for path in paths:
                    for batch in read_batches(path, 0):
                        self._forget_batch(connection, batch)
                condition = self.sql_dialect.membership_test.format("segment")
                connection.execute(f"DELETE FROM gaps WHERE {condition}", [names])  # noqa: S608 - of the dialect
                for path in paths:
                    for batch in read_batches(path, 0):
                        stored_rows += self.put(connection, batch)
                        self._record_offset(connection, folder_id, path.name, batch)
        return stored_rows

    def check_sums(self, *, since: float = 0.0) -> Iterator[SumsReport]:
        """Compare sums with rows, see `LedgerStore.check_sums`."""
        # Only the temporary tables of this connection change.
        with self.open_writer() as connection:
            yield from check_sums(connection, self.rollups, self.rollup_sql, since)

    def make_sums(self, *, until: float = math.inf) -> int:
        """Make sums of past quarters and days, see `LedgerStore.make_sums`."""
        count = 0
        with self.open_feeder() as connection:
            while self._clock() < until:
                period = self.rollups.find_pending(connection, self._clock())
                if period is None:
                    break
                count += self.rollups.make_sums(connection, period, self.yield_to_calls)
        return count

    def continue_sums(self, folder: Path) -> None:
        """Make some sums, or compare some with rows, see `LedgerStore.continue_sums`."""
        with try_lock_file(folder / "sums.lock") as locked:
            until = self._clock() + _SUMS_SECONDS
            if locked and not self.make_sums(until=until) and self._clock() < until:
                self._check_sums()

    def find_call(self, folder: Path, id: str) -> StoredRow | None:
        """Return the final row of a call that may have just ended, see `LedgerStore.find_call`."""
        for _ in range(MAX_FEED_TRIES):
            is_complete = self.feed(folder) is not None
            if rows := self.read_entries(only={"id": [id]}, limit=1):
                return rows[0]
            if is_complete:
                break
            self._sleep(FEED_WAIT_SECONDS)
        return None

    def state(self) -> IngestState:
        """Return the progress of this process's feeds."""
        return self._ingest_state

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """Return the bytes fed of each segment, see `LedgerStore.read_offsets`."""
        if not (folder / "id").exists():
            return {}
        with self.open_writer() as connection:  # works also while queries are refused
            return self._read_offsets(connection, read_folder_id(folder))

    def read_missing_until(self) -> float | None:
        """Return when rows may be missing, see `LedgerStore.read_missing_until`."""
        return None

    def read_identity(self) -> object:
        """Return an identity of the store, which changes if an empty store replaces it."""
        return None

    def mark_complete(self, connection: Any, folder: Path, timestamp: float) -> None:  # noqa: B027 - few are rebuilt
        """Note that the store has all rows that a folder's journals had at a moment."""

    def sum_costs(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
        question_limit: QuestionLimit | None = None,
    ) -> list[QueryGroup]:
        """Group calls and add them up, see `LedgerStore.sum_costs`."""
        by = check_names(by, only, slots)
        with self.open_reader() as connection, self._limit_question(connection, question_limit):
            span = self._read_span(connection, since, until)
            if "day" in by:
                slots = Days(zone, *(span or (0.0, 0.0)))
            question = Question(by, since, until, zone, only or {}, slots)
            reader = QuestionReader(self, connection, question, span)
            groups = reader.sum_costs()
        if question_limit is not None:
            question_limit.reads_rows |= reader.reads_rows
        return groups

    def measure_latency(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
        question_limit: QuestionLimit | None = None,
    ) -> list[LatencyTimes]:
        """Measure how long calls took, see `LedgerStore.measure_latency`."""
        by = check_names(by, only, slots)
        if "day" in by:
            raise ValueError("cannot group by day: a series has slots")
        question = Question(by, since, until, zone, only or {}, slots)
        with self.open_reader() as connection, self._limit_question(connection, question_limit):
            span = self._read_span(connection, since, until)
            reader = QuestionReader(self, connection, question, span)
            times = reader.measure_latency()
        if question_limit is not None:
            question_limit.reads_rows |= reader.reads_rows
        return times

    def read_entries(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        after_cursor: str | None = None,
        limit: int = 1000,
    ) -> list[StoredRow]:
        """Return final rows in the order in which they came in, see `LedgerStore.read_entries`."""
        check_names((), only)
        condition, values = build_condition(
            self.sql_dialect, since=since, until=until, only=only, zone=zone
        )
        with self.open_reader() as connection:
            store_id = self._read_ledger(connection)[0]
            seq = 0 if after_cursor is None else _parse_cursor(after_cursor, store_id)
            return self._read_stored_rows(connection, store_id, condition, values, seq, limit)

    def read_ordered(  # noqa: PLR0913 - one for each filter
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        order: CallOrder = NEWEST_FIRST,
        search: CallSearch | None = None,
        before_id: str | None = None,
        limit: int = 1000,
        max_seconds: float | None = None,
    ) -> OrderedRows:
        """Return final rows in an order, see `LedgerStore.read_ordered`."""
        check_names((), only)
        condition, values = build_condition(
            self.sql_dialect, since=since, until=until, only=only, zone=zone
        )
        if search is not None:
            search_condition, search_values = search.build_condition(self.sql_dialect)
            condition, values = f"{condition} AND {search_condition}", [*values, *search_values]
        columns, placeholder = (*ENTRY_COLUMNS, "repriced", "seq"), self.sql_dialect.placeholder
        with self.open_reader() as connection, self.limit_time(connection, max_seconds):
            store_id, last_seq = self._read_ledger(connection)
            if before_id is not None:
                before_row = connection.execute(
                    f"SELECT {order.expression} FROM priced AS c WHERE c.id = {placeholder}",  # noqa: S608 - of SORT_NAMES
                    [before_id],
                ).fetchone()
                if before_row is None:
                    raise ValueError("there is no such call: start without one")
                page_condition, page_values = order.build_page_condition(
                    self.sql_dialect, before_row[0], before_id
                )
                condition, values = f"{condition} AND {page_condition}", [*values, *page_values]
            rows = connection.execute(
                f"SELECT {', '.join(columns)} FROM priced AS c WHERE {condition}"  # noqa: S608 - of the schema
                f" ORDER BY {order.build_clause()} LIMIT {placeholder}",
                [*values, limit],
            ).fetchall()
            return OrderedRows(
                [self._build_row(store_id, row) for row in rows], f"{store_id}.{last_seq}"
            )

    def read_replay_rows(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> Iterator[ReplayRow]:
        """Yield rows in order of time, see `LedgerStore.read_replay_rows`."""
        check_names((), only)
        condition, values = build_condition(
            self.sql_dialect, since=since, until=until, only=only, zone=zone
        )
        columns = ReplayRow.__struct_fields__
        placeholders = ", ".join([self.sql_dialect.placeholder] * 2)
        sql = (
            f"SELECT {', '.join(columns)} FROM priced AS c WHERE {condition}"  # noqa: S608 - of the schema
            f" AND (c.at, c.id) > ({placeholders})"
            f" ORDER BY c.at, c.id LIMIT {self.sql_dialect.placeholder}"
        )
        last_at, last_id = -1.0, ""
        while True:
            with self.open_reader() as connection:
                page = connection.execute(sql, [*values, last_at, last_id, _PAGE_ROWS]).fetchall()
                rows = [ReplayRow(**self._decode_fields(columns, row)) for row in page]
            if not rows:
                return
            yield from rows
            last_at, last_id = rows[-1].at, rows[-1].id

    def sum_output_tokens(self, limit: int) -> list[TierAnswers]:
        """Return the tokens of the newest answers, see `LedgerStore.sum_output_tokens`."""
        sql = _OUTPUT_TOKENS_QUERY.format(self.sql_dialect.placeholder)
        with self.open_reader() as connection:
            rows = connection.execute(sql, [limit]).fetchall()
        return [TierAnswers(lab, tier, count, int(tokens)) for lab, tier, count, tokens in rows]

    def count(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> int:
        """Return the number of final rows, see `LedgerStore.count`."""
        check_names((), only)
        condition, values = build_condition(
            self.sql_dialect, since=since, until=until, only=only, zone=zone
        )
        with self.open_reader() as connection:
            sql = f"SELECT count(*) FROM priced AS c WHERE {condition}"  # noqa: S608 - as above
            count: int = connection.execute(sql, values).fetchone()[0]
        return count

    def read_attempts(self, id: str) -> list[AttemptRow]:
        """Return a call's attempts that gave no answer."""
        sql = (
            f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM failures"  # noqa: S608 - of the schema
            f" WHERE id = {self.sql_dialect.placeholder}"
        )
        with self.open_reader() as connection:
            rows = connection.execute(f"{sql} ORDER BY attempt", [id]).fetchall()
            return [AttemptRow(**self._decode_fields(ATTEMPT_COLUMNS, row)) for row in rows]

    def read_feedback(self, ids: Sequence[str]) -> dict[str, FeedbackRow]:
        """Return the feedback on some calls, see `LedgerStore.read_feedback`."""
        sql = (
            f"SELECT {', '.join(FEEDBACK_COLUMNS)} FROM verdicts"  # noqa: S608 - of the schema
            f" WHERE {self.sql_dialect.membership_test.format('id')}"
        )
        with self.open_reader() as connection:
            rows = connection.execute(sql, [self.sql_dialect.bind_texts(list(ids))]).fetchall()
            feedback_rows = [
                FeedbackRow(**self._decode_fields(FEEDBACK_COLUMNS, row)) for row in rows
            ]
        return {feedback_row.id: feedback_row for feedback_row in feedback_rows}

    def read_damages(
        self, *, since: float | None = None, until: float | None = None
    ) -> list[DamagedRow]:
        """Return gaps in the journals, see `LedgerStore.read_damages`."""
        sql = _DAMAGES_QUERY.format(self.sql_dialect.placeholder)
        values = [-math.inf if since is None else since, math.inf if until is None else until]
        with self.open_reader() as connection:
            rows = connection.execute(sql, values).fetchall()
        return [DamagedRow(**dict(zip(DAMAGE_COLUMNS, row, strict=True))) for row in rows]

    def read_unpriced(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
    ) -> Iterator[StoredRow]:
        """Yield rows without a cost or a baseline, see `LedgerStore.read_unpriced`."""
        check_names((), only)
        condition, values = build_condition(
            self.sql_dialect, since=since, until=until, only=only, zone=zone
        )
        # A row that is repriced meanwhile gets a new number, beyond this one.
        with self.open_reader() as connection:
            last_seq = self._read_ledger(connection)[1]
        condition = (
            f"{_UNPRICED_CONDITION} AND seq <= {self.sql_dialect.placeholder} AND {condition}"
        )
        seq = 0
        while True:
            with self.open_reader() as connection:
                store_id = self._read_ledger(connection)[0]
                page = self._read_stored_rows(
                    connection, store_id, condition, [last_seq, *values], seq, _PAGE_ROWS
                )
            if not page:
                return
            seq = _parse_cursor(page[-1].cursor, store_id)
            yield from page

    def find_user_calls(self, end_user: str) -> set[str]:
        """Return the ids of the calls of an end user, see `LedgerStore.find_user_calls`."""
        sql = f"SELECT id FROM entries WHERE end_user = {self.sql_dialect.placeholder}"  # noqa: S608
        with self.open_reader() as connection:
            return {row[0] for row in connection.execute(sql, [end_user]).fetchall()}

    def erase_user(self, end_user: str) -> None:
        """Erase the personal part of a user's rows, see `LedgerStore.erase_user`."""
        select_sql = _USER_QUERY.format(self.sql_dialect.placeholder)
        update_sql = _ERASE_STATEMENT.format(self.sql_dialect.placeholder)
        with self.open_writer() as connection:
            self.begin_erasure(connection)
            rows = [()] * _PAGE_ROWS
            while len(rows) == _PAGE_ROWS:
                with self.transaction(connection):
                    rows = connection.execute(select_sql, [end_user, _PAGE_ROWS]).fetchall()
                    self.rollups.mark_erasure(connection, [row[0] for row in rows])
                    seq = self.reserve_numbers(connection, len(rows))
                    for place, (id, basis) in enumerate(rows):
                        erased = erase_basis(self.decode_value("basis", basis))
                        values = [self.encode_value("basis", erased), seq + place, id]
                        connection.execute(update_sql, values)
            with self.transaction(connection):
                self.rollups.forget_user(connection, end_user)
            self.end_erasure(connection)

    def begin_erasure(self, connection: Any) -> None:  # noqa: B027 - few databases need it
        """Let the database overwrite what it deletes."""

    def end_erasure(self, connection: Any) -> None:  # noqa: B027 - as above
        """Remove older versions of changed rows."""

    def prune(self, cutoff: float) -> int:
        """Delete calls received before a moment, see `LedgerStore.prune`."""
        calls_query = (
            f"SELECT id FROM entries WHERE at < {self.sql_dialect.placeholder} ORDER BY at"  # noqa: S608
        )
        with self.open_writer() as connection:
            count = self._forget(connection, calls_query, cutoff)
            for table in ("failures", "reprices", "verdicts"):  # of calls that are not in the store
                self._forget(
                    connection, _ORPHANS_QUERY.format(table, self.sql_dialect.placeholder), cutoff
                )
            sql = f"DELETE FROM gaps WHERE until < {self.sql_dialect.placeholder}"  # noqa: S608
            with self.transaction(connection):
                connection.execute(sql, [cutoff])
        return count

    def yield_to_calls(self) -> None:
        """Let calls run for a moment, if this process serves any.

        A feed releases the interpreter often enough, and this wakes calls that wait for it. But if
        both share a processor, the feed gets the interpreter back first, for its whole time slice.
        """
        if (
            self._keeps_connection
            and not 0 <= time.thread_time() - self._rested_at < self._work_seconds
        ):
            started_at = time.perf_counter()
            self._sleep(_REST_SECONDS)
            self._work_seconds = (
                _WORK_SECONDS
                if time.perf_counter() - started_at < _LONG_REST_SECONDS
                else _BUSY_WORK_FACTOR * _WORK_SECONDS
            )
            self._rested_at = time.thread_time()

    def keep_connection(self) -> None:
        """Keep the connection between feeds, see `LedgerStore.keep_connection`."""
        self._keeps_connection = True

    def close(self) -> None:  # noqa: B027 - a store need not have what can be kept
        """Close the kept connection, if there is one; every other one ends with its use."""

    def _feed_segments(
        self, folder: Path, paths: list[Path], segment_sizes: Mapping[str, int], started_at: float
    ) -> tuple[int, Mapping[str, int]]:
        """Feed segments. Return how many rows changed, and the bytes fed of each segment."""
        folder_id = read_folder_id(folder)
        changed_rows = 0
        with self.open_feeder() as connection:
            fed_sizes = self._read_offsets(connection, folder_id)
            if fed_sizes.keys() != segment_sizes.keys():
                self._reconcile_segments(connection, folder_id, list(segment_sizes))
                fed_sizes = self._read_offsets(connection, folder_id)
            for path in paths:
                size, offset = segment_sizes.get(path.name, 0), fed_sizes.get(path.name, 0)
                if size == offset:
                    continue
                # A file shorter than the bytes fed from it is another file.
                start = offset if offset < size else 0
                for batch in read_batches(path, start, self.yield_to_calls):
                    with self.transaction(connection):
                        rows = self.put(connection, batch)
                        self._record_offset(connection, folder_id, path.name, batch)
                    fed_sizes[path.name] = batch.end
                    changed_rows += rows
                    self._add_progress(rows, batch, self._ingest_state.fed_until)
            self.mark_complete(connection, folder, started_at)
        return changed_rows, {name: fed_sizes.get(name, 0) for name in segment_sizes}

    def _check_sums(self) -> None:
        """Compare some sums with their rows."""
        with self.open_feeder() as connection:
            count = self.rollups.check_next(connection, self._clock(), self.yield_to_calls)
        self._ingest_state = msgspec.structs.replace(
            self._ingest_state, wrong_sums=self._ingest_state.wrong_sums + count
        )

    def _forget(self, connection: Any, sql: str, cutoff: float) -> int:
        """Delete the calls that a query selects, a bounded number in one transaction."""
        condition = self.sql_dialect.membership_test.format("id")
        count = 0
        while True:
            with self.transaction(connection):
                rows = connection.execute(f"{sql} LIMIT {_PRUNE_BATCH_CALLS}", [cutoff]).fetchall()
                self.rollups.mark_calls(connection, [row[0] for row in rows])
                ids = self.sql_dialect.bind_texts([row[0] for row in rows])
                for table in ("failures", "reprices", "verdicts"):
                    connection.execute(f"DELETE FROM {table} WHERE {condition}", [ids])  # noqa: S608
                # The time spares a look into later partitions.
                by_time = f"{condition} AND at < {self.sql_dialect.placeholder}"
                connection.execute(f"DELETE FROM entries WHERE {by_time}", [ids, cutoff])  # noqa: S608
            count += len(rows)
            if len(rows) < _PRUNE_BATCH_CALLS:
                return count

    def _forget_batch(self, connection: Any, batch: RowBatch) -> None:
        """Delete the rows of some calls of which a journal has rows of the same kind."""
        condition = self.sql_dialect.membership_test.format("id")
        self.rollups.mark_calls(
            connection, [*(row.id for row in batch.entries), *(row.id for row in batch.reprices)]
        )
        for table, rows in (
            ("entries", batch.entries),
            ("failures", batch.attempts),
            ("reprices", batch.reprices),
            ("verdicts", batch.feedback),
        ):
            ids = self.sql_dialect.bind_texts([row.id for row in rows])
            connection.execute(f"DELETE FROM {table} WHERE {condition}", [ids])  # noqa: S608 - of the schema

    def _add_progress(self, rows: int, batch: RowBatch | None, fed_until: float | None) -> None:
        state = self._ingest_state
        if batch is not None:
            damaged = count_damaged_rows(batch.damages)
            state = msgspec.structs.replace(
                state, skipped=state.skipped + batch.skipped, damaged=state.damaged + damaged
            )
        self._ingest_state = msgspec.structs.replace(
            state, rows=state.rows + rows, fed_until=fed_until
        )

    def _reconcile_segments(self, connection: Any, folder_id: str, names: list[str]) -> None:
        """Forget removed segments, and set the folder of segments from the first schema."""
        condition = self.sql_dialect.membership_test.format("name")
        name_list = self.sql_dialect.bind_texts(names)
        placeholder = self.sql_dialect.placeholder
        with self.transaction(connection):
            for sql in (
                f"UPDATE segments SET folder = {placeholder} WHERE folder = '' AND {condition}",  # noqa: S608
                f"DELETE FROM segments WHERE folder = {placeholder} AND NOT {condition}",  # noqa: S608
            ):
                connection.execute(sql, [folder_id, name_list])

    def _record_offset(self, connection: Any, folder_id: str, name: str, batch: RowBatch) -> None:
        placeholders = ", ".join([self.sql_dialect.placeholder] * 4)
        connection.execute(
            f"INSERT INTO segments VALUES ({placeholders}) ON CONFLICT (folder, name) DO UPDATE"  # noqa: S608
            " SET bytes = excluded.bytes, skipped = segments.skipped + excluded.skipped",
            [folder_id, name, batch.end, batch.skipped],
        )

    def _read_offsets(self, connection: Any, folder_id: str) -> dict[str, int]:
        sql = f"SELECT name, bytes FROM segments WHERE folder = {self.sql_dialect.placeholder}"  # noqa: S608
        return dict(connection.execute(sql, [folder_id]).fetchall())

    def _read_ledger(self, connection: Any) -> tuple[str, int]:
        """Return the store's own id, and the number of the last row that came in."""
        row: tuple[str, int] = connection.execute("SELECT id, seq FROM ledger").fetchone()
        return row

    @contextmanager
    def _limit_question(
        self, connection: Any, question_limit: QuestionLimit | None
    ) -> Iterator[None]:
        """Limit the time of a question. Raises QueryTooLongError."""
        if question_limit is None:
            yield
            return
        try:
            with self.limit_time(connection, question_limit.remaining_seconds):
                yield
        except QueryTooLongError:
            raise QueryTooLongError(question_limit.max_seconds) from None

    def _read_span(
        self, connection: Any, since: float | None, until: float | None
    ) -> tuple[float, float] | None:
        """Return the times of the first and the last call of some time; None without calls."""
        condition, values = build_condition(self.sql_dialect, since=since, until=until, only=None)
        ends = [
            connection.execute(
                f"SELECT at FROM entries AS c WHERE {condition} ORDER BY at {direction} LIMIT 1",  # noqa: S608
                values,
            ).fetchone()
            for direction in ("ASC", "DESC")
        ]
        return (ends[0][0], ends[1][0]) if ends[0] and ends[1] else None

    def _read_stored_rows(
        self,
        connection: Any,
        store_id: str,
        condition: str,
        values: list[object],
        after_seq: int,
        limit: int,
    ) -> list[StoredRow]:
        columns = (*ENTRY_COLUMNS, "repriced", "seq")
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM priced AS c"  # noqa: S608 - columns of the schema
            f" WHERE {condition} AND seq > {self.sql_dialect.placeholder}"
            f" ORDER BY seq LIMIT {self.sql_dialect.placeholder}",
            [*values, after_seq, limit],
        ).fetchall()
        return [self._build_row(store_id, row) for row in rows]

    def _build_row(self, store_id: str, row: Sequence[Any]) -> StoredRow:
        """Build a stored row from the columns of an entry, its reprice time and its number."""
        return StoredRow(
            **self._decode_fields((*ENTRY_COLUMNS, "repriced"), row), cursor=f"{store_id}.{row[-1]}"
        )

    def _decode_fields(self, names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
        return {name: self.decode_value(name, item) for name, item in zip(names, row, strict=False)}


def _parse_cursor(cursor: str, store_id: str) -> int:
    cursor_store_id, _, seq = cursor.partition(".")
    if cursor_store_id != store_id or not (seq.isascii() and seq.isdigit()):
        raise ValueError("this store has no such cursor: start without one")
    return int(seq)
