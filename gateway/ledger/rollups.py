"""Make the sums of `rollup_schema` from rows, and note which of them no longer equal the rows."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import batched
from typing import Any, Final, NamedTuple

from ddsketch.mapping import LogarithmicMapping

from gateway.core import jsonio
from gateway.ledger.ingest import RowBatch, make_storable
from gateway.ledger.query import SqlDialect
from gateway.ledger.rollup_schema import (
    DIMENSIONS,
    KIND_GROUPS,
    LATENCY_DIMENSIONS,
    LATENCY_KINDS,
    QUARTER_SECONDS,
    QUARTERS_PER_DAY,
    SCRATCH_TABLES,
    USER_DIMENSIONS,
    KindGroup,
    RollupKind,
    RollupSql,
    get_period_seconds,
)
from gateway.ledger.time_series import LATENCY_COLUMNS, PERCENTILES, LatencySpread

_GRACE_SECONDS = 120
"""Seconds after a quarter until its sums are made: by then most of its calls have ended."""
_MISFIT = -1
"""The version of a quarter or day whose amounts do not fit: questions read its rows for good."""
_MAX_CHECKED_QUARTERS = 2 * QUARTERS_PER_DAY
"""The most quarters that are checked later than a day after their end, as after an upgrade."""
_BATCH_KINDS = 6
"""Kinds whose sums are stored in one transaction, for which other writers wait."""
_PAGE_ROWS = 1_000
"""Rows in memory at a time."""


RELATIVE_ERROR: Final = 0.01
"""The most by which a counted latency differs from the real one, as a part of it."""
_MAPPING = LogarithmicMapping(RELATIVE_ERROR)
_find_bin = _MAPPING.key
_SHORTEST_SECONDS = 1e-9
_ZERO_BIN = -1_000_000
"""The bin of latencies up to `_SHORTEST_SECONDS`."""

type _Names = tuple[str | None, ...]
type LatencyCounts = tuple[dict[int, int], dict[int, int]]
"""The number of latencies in each bin, for each of LATENCY_COLUMNS."""


class Period(NamedTuple):
    """A quarter or a day, in UTC, and the version of its rows."""

    by_day: bool
    start: int
    """Quarters or days since the epoch."""
    version: int

    @property
    def seconds(self) -> tuple[int, int]:
        """The first second of the period and the first after it, since the epoch."""
        length = get_period_seconds(by_day=self.by_day)
        return self.start * length, (self.start + 1) * length


class Rollups:
    """The sums of one store."""

    def __init__(
        self,
        sql: RollupSql,
        dialect: SqlDialect,
        transaction: Callable[[Any], AbstractContextManager[None]],
    ) -> None:
        self._sql = sql
        self._transaction = transaction
        self._ids_condition = dialect.membership_test.format("c.id")
        self._bind_texts = dialect.bind_texts

    def mark_batch(self, connection: Any, batch: RowBatch) -> None:
        """Note that rows come in, within the transaction that stores them, before it does."""
        quarters = {int(row.at // QUARTER_SECONDS) for row in batch.entries}
        # The rows that may change: the time of a call's own row may be another than recovery's.
        sql = (
            f"SELECT DISTINCT {self._sql.quarter} FROM entries AS c"  # noqa: S608 - of this package
            f" WHERE c.state = 'unknown_crash' AND {self._ids_condition} OR {self._ids_condition}"
        )
        id_lists = [[row.id for row in batch.entries], [row.id for row in batch.reprices]]
        if any(id_lists):
            rows = connection.execute(sql, list(map(self._bind_ids, id_lists))).fetchall()
            self.mark_quarters(connection, quarters.union(row[0] for row in rows))

    def mark_calls(self, connection: Any, ids: Sequence[str]) -> None:
        """Note that rows of some calls change, within the transaction that changes them."""
        self.mark_quarters(connection, self._list_quarters(connection, ids))

    def mark_erasure(self, connection: Any, ids: Sequence[str]) -> None:
        """Note that calls lose their end user, within the transaction that erases it."""
        quarters = self._list_quarters(connection, ids)
        self._mark(connection, {(1, quarter // QUARTERS_PER_DAY) for quarter in quarters})

    def forget_user(self, connection: Any, end_user: str) -> None:
        """Delete the sums of an end user, all of whose days are pending."""
        sql = (
            f"DELETE FROM rollup_users WHERE end_user = {self._sql.placeholder}"  # noqa: S608 - of this package
            " AND start IN (SELECT start FROM rollup_pending WHERE by_day = 1)"
        )
        connection.execute(sql, [end_user])

    def _list_quarters(self, connection: Any, ids: Sequence[str]) -> list[int]:
        """List the quarters in which some calls were received."""
        sql = f"SELECT DISTINCT {self._sql.quarter} FROM entries AS c WHERE {self._ids_condition}"  # noqa: S608 - of this package
        return [row[0] for row in connection.execute(sql, [self._bind_ids(ids)]).fetchall()]

    def _bind_ids(self, ids: Sequence[str]) -> object:
        """Bind ids as the store has them."""
        return self._bind_texts([make_storable("id", id) for id in ids])

    def mark_quarters(self, connection: Any, quarters: Iterable[int]) -> None:
        """Note that rows of some quarters change, within the transaction that changes them."""
        starts = {(0, quarter) for quarter in quarters}
        starts |= {(1, quarter // QUARTERS_PER_DAY) for _, quarter in starts}
        self._mark(connection, starts)

    def _mark(self, connection: Any, starts: Iterable[tuple[int, int]]) -> None:
        """Note that rows of some quarters (0) and days (1) change."""
        mark = self._sql.placeholder
        version = secrets.randbits(62)
        for by_day, start in sorted(starts):  # in one order: two processes may do so at once
            connection.execute(
                f"INSERT INTO rollup_pending VALUES ({by_day}, {mark}, {mark})"  # noqa: S608 - of this package
                " ON CONFLICT (by_day, start) DO UPDATE SET version = excluded.version",
                [start, version],
            )

    def forget_until(self, connection: Any, moment: float) -> None:
        """Delete the sums of calls from before a midnight (UTC), of which there are none."""
        mark = self._sql.placeholder
        for by_day, groups in KIND_GROUPS.items():
            end = int(moment // get_period_seconds(by_day=by_day))
            numbers = ", ".join(str(kind.number) for group in groups for kind in group.kinds)
            for table in "rollups", "rollup_bins":
                sql = f"DELETE FROM {table} WHERE kind IN ({numbers}) AND start < {mark}"  # noqa: S608 - of this package
                connection.execute(sql, [end])
            sql = f"DELETE FROM rollup_pending WHERE by_day = {int(by_day)} AND start < {mark}"  # noqa: S608 - as above
            connection.execute(sql, [end])
        sql = f"DELETE FROM rollup_users WHERE start < {mark}"  # noqa: S608 - as above
        connection.execute(sql, [int(moment // get_period_seconds(by_day=True))])

    def find_pending(self, connection: Any, now: float) -> Period | None:
        """Return the next quarter or day that is over and whose sums do not equal its rows."""
        end = int((now - _GRACE_SECONDS) // QUARTER_SECONDS)
        mark = self._sql.placeholder
        row = connection.execute(
            "SELECT by_day, start, version FROM rollup_pending"  # noqa: S608 - of this package
            f" WHERE version >= 0 AND start < CASE by_day WHEN 0 THEN {mark} ELSE {mark} END"
            " ORDER BY by_day, start DESC LIMIT 1",
            [end, end // QUARTERS_PER_DAY],
        ).fetchone()
        return None if row is None else Period(bool(row[0]), int(row[1]), int(row[2]))

    def make_sums(
        self, connection: Any, period: Period, yield_to_calls: Callable[[], object] = int
    ) -> bool:
        """Make the sums of a quarter or day, outside a transaction.

        Return False if its rows changed meanwhile: then it is still pending. The method calls
        `yield_to_calls` before each piece of work.
        """
        with self._read_calls(connection, period) as has_misfits:
            spans = self._count_latencies(connection, period, yield_to_calls)
            for group in KIND_GROUPS[period.by_day]:
                yield_to_calls()
                self._fill_part(connection, period, group)
                for kinds in batched(group.kinds, _BATCH_KINDS):
                    yield_to_calls()
                    with self._transaction(connection):
                        if not self._is_current(connection, period):
                            return False
                        self._store_kinds(connection, period.start, kinds, spans)
        mark = self._sql.placeholder
        condition = f"WHERE by_day = {int(period.by_day)} AND start = {mark} AND version = {mark}"
        if has_misfits:
            sql = f"UPDATE rollup_pending SET version = {_MISFIT} {condition}"  # noqa: S608 - of this package
        else:
            sql = f"DELETE FROM rollup_pending {condition}"  # noqa: S608 - as above
        with self._transaction(connection):
            cursor = connection.execute(sql, [period.start, period.version])
            return bool(cursor.rowcount == 1)

    def count_differences(
        self, connection: Any, period: Period, yield_to_calls: Callable[[], object] = int
    ) -> int:
        """Return how many sums of a quarter or day differ from its rows."""
        count = 0
        with self._read_calls(connection, period):
            for group in KIND_GROUPS[period.by_day]:
                self._fill_part(connection, period, group)
                for kind in group.kinds:
                    yield_to_calls()
                    sql = self._sql.count_differences(kind)
                    count += int(connection.execute(sql, [period.start] * 2).fetchone()[0])
        return count

    def check_next(
        self, connection: Any, now: float, yield_to_calls: Callable[[], object] = int
    ) -> int:
        """Compare sums with rows, outside a transaction: of the next quarter that ended a day ago.

        With the first quarter of a day the method compares the sums of the day before too. Return
        how many differ. Their quarter and day are pending then.
        """
        mark = self._sql.placeholder
        end = int(now // QUARTER_SECONDS) - QUARTERS_PER_DAY
        row = connection.execute(
            "SELECT next_start, (SELECT min(at) FROM entries) FROM rollup_check"
        ).fetchone()
        # No question asks for sums of a time before the first call.
        first_start = end if row[1] is None else int(row[1] // QUARTER_SECONDS)
        start = max(int(row[0]), end - _MAX_CHECKED_QUARTERS, first_start)
        if start >= end:
            return 0
        periods = [Period(by_day=False, start=start, version=0)]
        day, offset = divmod(start, QUARTERS_PER_DAY)
        if offset == 0:
            periods.append(Period(by_day=True, start=day - 1, version=0))
        count = 0
        for period in periods:
            differences = self.count_differences(connection, period, yield_to_calls)
            with self._transaction(connection):
                # A row that changed meanwhile is no difference.
                values = [int(period.by_day), period.start]
                is_pending = connection.execute(self._sql.lock_pending, values).fetchone()
                if differences and not is_pending:
                    count += differences
                    first = start if not period.by_day else start - QUARTERS_PER_DAY
                    self.mark_quarters(connection, [first])
        with self._transaction(connection):
            connection.execute(f"UPDATE rollup_check SET next_start = {mark}", [start + 1])  # noqa: S608 - of this package
        return count

    @contextmanager
    def _read_calls(self, connection: Any, period: Period) -> Iterator[bool]:
        """Read the calls of a period for a block. The value is True if an amount does not fit."""
        for statement in self._sql.build_scratch_tables():
            connection.execute(statement)
        self._empty_scratch(connection)
        connection.execute(self._sql.read_calls("rollup_scratch", DIMENSIONS), period.seconds)
        sql = "SELECT coalesce(sum(misfits), 0) FROM rollup_scratch"
        yield bool(connection.execute(sql).fetchone()[0])
        self._empty_scratch(connection)  # they have end users

    def _empty_scratch(self, connection: Any) -> None:
        for table in SCRATCH_TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - of this package

    def _fill_part(self, connection: Any, period: Period, group: KindGroup) -> None:
        connection.execute("DELETE FROM rollup_part")
        if group.dimensions == USER_DIMENSIONS:
            # From the rows: by end users too, the calls in the scratch table would be far more.
            sql = self._sql.read_calls("rollup_part", group.dimensions)
            connection.execute(sql, period.seconds)
        else:
            connection.execute(self._sql.fill_part(group.dimensions))

    def _is_current(self, connection: Any, period: Period) -> bool:
        """True if no row of a period has changed since its version; stays so in a transaction."""
        sql = self._sql.lock_pending
        row = connection.execute(sql, [int(period.by_day), period.start]).fetchone()
        return row is not None and row[0] == period.version

    def _store_kinds(
        self,
        connection: Any,
        start: int,
        kinds: Sequence[RollupKind],
        spans: Mapping[RollupKind, Mapping[_Names, LatencyCounts]],
    ) -> None:
        """Replace the sums of some kinds."""
        numbers = ", ".join(str(kind.number) for kind in kinds)
        for table in "rollups", "rollup_bins":
            connection.execute(
                f"DELETE FROM {table} WHERE kind IN ({numbers})"  # noqa: S608 - of this package
                f" AND start = {self._sql.placeholder}",
                [start],
            )
        for kind in kinds:
            if kind.has_sets:
                connection.execute(self._sql.store_sets(kind))
            else:
                sql = f"DELETE FROM rollup_users WHERE start = {self._sql.placeholder}"  # noqa: S608 - as above
                connection.execute(sql, [start])
            connection.execute(self._sql.store_sums(kind), [start])
            for names, counts in spans.get(kind, {}).items():
                texts = [jsonio.dumps(bins).decode() for bins in counts]
                connection.execute(self._sql.store_bins(kind), [start, *texts, *names])

    def _count_latencies(
        self, connection: Any, period: Period, yield_to_calls: Callable[[], object]
    ) -> Mapping[RollupKind, Mapping[_Names, LatencyCounts]]:
        """Count the latencies of a period's answered calls, for each kind and its names."""
        total_counts: dict[_Names, LatencyCounts] = {}
        first, end = period.seconds
        condition = f"c.at >= {self._sql.placeholder} AND c.at < {self._sql.placeholder}"
        sql = build_latencies_query([f"c.{name}" for name in LATENCY_DIMENSIONS], "", condition)
        for start in range(first, end, QUARTER_SECONDS):
            rows = connection.execute(sql, [start, start + QUARTER_SECONDS])
            while page := rows.fetchmany(_PAGE_ROWS):
                yield_to_calls()
                add_latencies(total_counts, page, len(LATENCY_DIMENSIONS))
        counts: dict[RollupKind, dict[_Names, LatencyCounts]] = {}
        for kind, positions in _LATENCY_POSITIONS[period.by_day]:
            yield_to_calls()
            counts[kind] = _fold_names(total_counts, positions)
        return counts


def _fold_names(
    counts: Mapping[_Names, LatencyCounts], positions: Sequence[int]
) -> dict[_Names, LatencyCounts]:
    """Return counts by fewer names: those at some positions."""
    folded_counts: dict[_Names, LatencyCounts] = {}
    for names, spans in counts.items():
        kept_names = tuple([names[position] for position in positions])
        totals = folded_counts.setdefault(kept_names, ({}, {}))
        for total, bins in zip(totals, spans, strict=True):
            for bin_number, count in bins.items():
                total[bin_number] = total.get(bin_number, 0) + count
    return folded_counts


def build_latencies_query(names: Sequence[str], list_joins: str, condition: str) -> str:
    """Build a query for answered calls: their names, and LATENCY_COLUMNS."""
    columns = ", ".join((*names, *(f"c.{column}" for column in LATENCY_COLUMNS)))
    return (
        f"SELECT {columns} FROM costs AS c {list_joins} WHERE {condition}"  # noqa: S608 - of this package
        " AND c.state IN ('settled', 'estimated')"
    )


def add_latencies(
    counts: dict[_Names, LatencyCounts], rows: Iterable[Sequence[Any]], name_count: int
) -> None:
    """Count the latencies of rows: their names come first, LATENCY_COLUMNS last."""
    for row in rows:
        names = tuple(row[:name_count])
        spans = counts.get(names)
        if spans is None:
            spans = counts[names] = ({}, {})
        for bins, seconds in zip(spans, row[name_count:], strict=True):
            if seconds is not None:
                bin_number = _find_bin(seconds) if seconds > _SHORTEST_SECONDS else _ZERO_BIN
                bins[bin_number] = bins.get(bin_number, 0) + 1


def merge_bins(bins: dict[int, int], text: str) -> None:
    """Add stored counts to others."""
    for bin_number, count in _parse_bins(text.encode()).items():
        bins[bin_number] = bins.get(bin_number, 0) + count


def measure_spread(bins: Mapping[int, int]) -> LatencySpread | None:
    """Return the percentiles of counted latencies; None if there are none."""
    total = sum(bins.values())
    if not total:
        return None
    ranks = [(total * percent + 99) // 100 for percent in PERCENTILES]
    values, passed = list[float](), 0
    for bin_number in sorted(bins):
        passed += bins[bin_number]
        while len(values) < len(ranks) and passed >= ranks[len(values)]:
            values.append(0.0 if bin_number == _ZERO_BIN else _MAPPING.value(bin_number))
    return LatencySpread(total, *values)


_LATENCY_POSITIONS = {
    by_day: [(kind, [LATENCY_DIMENSIONS.index(name) for name in kind.dimensions]) for kind in kinds]
    for by_day, kinds in LATENCY_KINDS.items()
}
_parse_bins = jsonio.make_reader(dict[int, int])
