"""Answer questions about the costs and latencies of calls, from sums and from rows."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Protocol

from gateway.ledger.query import (
    MONEY,
    SLOT,
    SUM_COLUMNS,
    TOKENS,
    QueryGroup,
    Slots,
    SqlDialect,
    build_condition,
    build_group,
    make_sort_key,
    read_names,
)
from gateway.ledger.rollup_queries import Question, QuestionPart, plan
from gateway.ledger.rollup_schema import (
    COUNTS,
    EXACT_CONTEXT,
    QUARTER_SECONDS,
    RollupKind,
    RollupSql,
)
from gateway.ledger.rollups import (
    RELATIVE_ERROR,
    LatencyCounts,
    add_latencies,
    build_latencies_query,
    measure_spread,
    merge_bins,
)
from gateway.ledger.time_series import (
    LATENCY_COLUMNS,
    LatencyTimes,
    build_latency_query,
    build_latency_times,
)

_NUMBER_COUNT = len(COUNTS) + len(TOKENS)
"""The whole numbers in a row of sums; the six of query.MONEY follow."""
_PAGE_ROWS = 1_000
"""Rows in memory at a time, where each row is read."""
_EDGE_SECONDS = 4 * QUARTER_SECONDS
"""The most seconds at the edges of a question: parts of two quarters, and two without sums yet."""


class QuestionStore(Protocol):
    """A store that knows the SQL of its database."""

    sql_dialect: ClassVar[SqlDialect]
    rollup_sql: ClassVar[RollupSql]
    money_columns: ClassVar[str]

    def build_slot_expression(self, connection: Any, slots: Slots) -> tuple[str, list[object]]:
        """Return an expression for the position of `at` among the slots, and its values."""
        ...

    def decode_sums(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row of sums with the six of query.MONEY at its end."""
        ...


class QuestionReader:
    """Answers one question on a connection, at one moment.

    `span` has the times of the first and the last call of the question; None if there is none.
    """

    def __init__(
        self,
        store: QuestionStore,
        connection: Any,
        question: Question,
        span: tuple[float, float] | None,
    ) -> None:
        self._store = store
        self._connection = connection
        self._question = question
        self._span = span
        self.reads_rows = False
        """True if the question read single rows beyond its edges."""
        self._by = question.by
        self._expressions = store.sql_dialect.build_expressions(question.by)
        self._slot_values: list[object] = []
        if question.slots is not None:
            time_name = SLOT if SLOT in question.by else "day"
            self._expressions[time_name], self._slot_values = store.build_slot_expression(
                connection, question.slots
            )
        self._joins = store.sql_dialect.build_joins(question.by)

    def sum_costs(self) -> list[QueryGroup]:
        """Return the groups of calls, in order."""
        sums: dict[tuple[object, ...], list[Any]] = {}
        name_count = len(self._by)
        for part in self._plan():
            rows = self._sum_rows(part) if part.kind is None else self._sum_sums(part, part.kind)
            for row in rows:
                names, values = tuple(row[:name_count]), list(row[name_count:])
                sums[names] = _add_values(sums[names], values) if names in sums else values
        if not self._by and not sums:
            sums[()] = [0] * len(COUNTS) + [None] * (len(TOKENS) + len(MONEY))
        groups = [
            build_group(self._by, [*names, *values], self._question.slots)
            for names, values in sums.items()
        ]
        return sorted(groups, key=make_sort_key(self._by))

    def measure_latency(self) -> list[LatencyTimes]:
        """Return the latencies of groups of answered calls, in order."""
        parts = self._plan(latency=True)
        if not any(part.kind and self._has_bins(part, part.kind) for part in parts):
            self._note_rows([self._make_whole_part()])
            return self._measure_rows()
        counts: dict[tuple[str | None, ...], LatencyCounts] = {}
        for part in parts:
            if part.kind is None:
                condition, values = self._build_condition(part)
                sql = build_latencies_query(self._list_names(), self._joins, condition)
                rows = self._connection.execute(sql, [*self._slot_values, *values])
                while page := rows.fetchmany(_PAGE_ROWS):
                    add_latencies(counts, page, len(self._by))
                continue
            for *names, duration, first_content in self._read_sums(
                part, part.kind, "rollup_bins", LATENCY_COLUMNS, LATENCY_COLUMNS
            ):
                spans = counts.setdefault(tuple(names), ({}, {}))
                merge_bins(spans[0], duration)
                merge_bins(spans[1], first_content)
        times = [
            LatencyTimes(
                read_names(self._by, names, self._question.slots),
                measure_spread(spans[0]),
                measure_spread(spans[1]),
                relative_error=RELATIVE_ERROR,
            )
            for names, spans in counts.items()
        ]
        return sorted(
            (time for time in times if time.duration or time.first_content),
            key=lambda time: [(name is None, name or "") for name in time.names],
        )

    def _plan(self, *, latency: bool = False) -> list[QuestionPart]:
        parts = plan(
            self._connection, self._store.rollup_sql, self._question, self._span, latency=latency
        )
        self._note_rows(parts)
        return parts

    def _note_rows(self, parts: Sequence[QuestionPart]) -> None:
        """Note if some parts read the rows of more time than there is at the edges."""
        first, last = self._span or (0.0, 0.0)
        seconds = sum(
            max(0.0, min(_choose(part.until, last), last) - max(_choose(part.since, first), first))
            for part in parts
            if part.kind is None
        )
        self.reads_rows = seconds > _EDGE_SECONDS

    def _make_whole_part(self) -> QuestionPart:
        """Return the part that answers the whole question from rows."""
        return QuestionPart(None, 0, 0, self._question.since, self._question.until)

    def _build_condition(self, part: QuestionPart) -> tuple[str, list[object]]:
        return build_condition(
            self._store.sql_dialect,
            since=part.since,
            until=part.until,
            only=self._question.only,
            zone=self._question.zone,
        )

    def _list_names(self) -> list[str]:
        return list(self._expressions.values())

    def _build_grouping(self) -> str:
        positions = ", ".join(str(index + 1) for index in range(len(self._by)))
        return f"GROUP BY {positions}" if positions else ""

    def _sum_rows(self, part: QuestionPart) -> Iterable[Sequence[Any]]:
        condition, values = self._build_condition(part)
        columns = [*self._list_names(), *SUM_COLUMNS, self._store.money_columns]
        sql = (
            f"SELECT {', '.join(columns)} FROM costs AS c {self._joins}"  # noqa: S608 - names of BY only
            f" WHERE {condition} {self._build_grouping()}"
        )
        rows = self._connection.execute(sql, [*self._slot_values, *values]).fetchall()
        return map(self._store.decode_sums, rows)

    def _sum_sums(self, part: QuestionPart, kind: RollupKind) -> Iterable[Sequence[Any]]:
        sql = self._store.rollup_sql
        columns = [sql.add_up(name, "c.") for name in sql.sum_columns]
        name_count, money_start = len(self._by), len(self._by) + _NUMBER_COUNT
        for row in self._read_sums(part, kind, "rollups", sql.sum_columns, columns):
            if row[name_count] is None:  # the one row of a query without names, of no sums
                continue
            numbers = [
                None if number is None else int(number) for number in row[name_count:money_start]
            ]
            cost, compared, wasted, estimate, baseline, reserved = sql.read_amounts(
                row[money_start:]
            )
            saved = None
            if baseline is not None and compared is not None:
                saved = EXACT_CONTEXT.subtract(baseline, compared)
            money = (cost, wasted, estimate, baseline, saved, reserved)
            yield [*row[:name_count], *numbers, *money]

    def _read_sums(
        self,
        part: QuestionPart,
        kind: RollupKind,
        table: str,
        table_columns: Sequence[str],
        columns: Sequence[str],
    ) -> list[Sequence[Any]]:
        """Read the names of sums, and some columns; `columns` may add them up."""
        source = self._store.rollup_sql.read_sums(kind, table, table_columns)
        condition, values = self._build_condition(part)
        grouping = self._build_grouping() if table == "rollups" else ""
        query = (
            f"SELECT {', '.join([*self._list_names(), *columns])} FROM ({source}"  # noqa: S608 - names of BY only
            f") AS c {self._joins} WHERE {condition} {grouping}"
        )
        values = [*self._slot_values, part.first, part.end, *values]
        rows: list[Sequence[Any]] = self._connection.execute(query, values).fetchall()
        return rows

    def _has_bins(self, part: QuestionPart, kind: RollupKind) -> bool:
        """True if latencies were counted in some sums."""
        mark = self._store.rollup_sql.placeholder
        sql = (
            f"SELECT 1 FROM rollup_bins WHERE kind = {kind.number}"  # noqa: S608 - of this package
            f" AND start >= {mark} AND start < {mark} LIMIT 1"
        )
        return self._connection.execute(sql, [part.first, part.end]).fetchone() is not None

    def _measure_rows(self) -> list[LatencyTimes]:
        """Return exact latencies, from rows alone."""
        condition, values = self._build_condition(self._make_whole_part())
        rows_by_column = {
            column: self._connection.execute(
                build_latency_query(self._list_names(), column, self._joins, condition),
                [*self._slot_values, *values],
            ).fetchall()
            for column in LATENCY_COLUMNS
        }
        return build_latency_times(self._by, rows_by_column, self._question.slots)


def _choose(moment: float | None, otherwise: float) -> float:
    return otherwise if moment is None else moment


def _add_values(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Add up two rows of sums, in which None is unknown."""
    return [
        new
        if old is None
        else old
        if new is None
        else EXACT_CONTEXT.add(old, new)
        if isinstance(old, Decimal)
        else old + new
        for old, new in zip(left, right, strict=True)
    ]
