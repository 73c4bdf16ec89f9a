"""Queries to the ledger's rows in ClickHouse, where the sinks of many gateways write them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from gateway.core.ledger_rows import AttemptRow, DamagedRow, FeedbackRow
from gateway.ledger.clickhouse.connection import (
    check_version,
    describe_errors,
    open_client,
    parse_url,
)
from gateway.ledger.clickhouse.schema import (
    LIST_COLUMNS,
    MONEY_COLUMNS,
    TABLE_ENTRY_COLUMNS,
    UNITS_COLUMN,
)
from gateway.ledger.query import (
    LIST_COLUMNS_BY_NAME,
    SLOT,
    SUM_COLUMNS,
    TIME_NAMES,
    Days,
    Filters,
    QueryGroup,
    Slots,
    SqlDialect,
    build_condition,
    build_group,
    check_names,
    make_sort_key,
)
from gateway.ledger.schema import ATTEMPT_COLUMNS, DAMAGE_COLUMNS, FEEDBACK_COLUMNS
from gateway.ledger.store import StoredRow
from gateway.ledger.time_series import (
    LATENCY_COLUMNS,
    PERCENTILES,
    LatencyTimes,
    build_latency_times,
)

_DIALECT: Final = SqlDialect(
    placeholder="%s",
    bind_texts=list,
    membership_test="{} IN (%s)",
    list_test="hasAny({}, %s)",
    list_join="",  # ClickHouse joins a row with its list within the expression
)
# As text: the driver's own values lose digits, and text has no zeros at its end.
_MONEY_SUMS = (
    *("toString(sum(cost))", "toString(sum(wasted))", "toString(sum(estimate))"),
    "toString(sumIf(baseline, cost IS NOT NULL))",
    *("toString(sum(baseline - cost))", "toString(sum(reserved))"),
)


class ClickHouseStore:
    """The rows of the calls of all gateways whose sinks write to a ClickHouse database.

    It implements `LedgerReader`: sinks feed it, not this class. It connects on its first query.
    Every method raises StoreError if the server does not answer or has no ledger.
    """

    def __init__(self, url: str, environ: Mapping[str, str] = os.environ) -> None:
        self._address = parse_url(url, environ)
        self._client: Client | None = None

    def sum_costs(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
    ) -> list[QueryGroup]:
        """Group calls and add them up, see `LedgerReader.sum_costs`."""
        by = check_names(by, only, slots)
        condition, values = build_condition(
            _DIALECT, since=since, until=until, only=only, zone=zone
        )
        if "day" in by:
            slots = Days(zone, *self._read_span(condition, values))
        expressions, slot_values = _build_expressions(by, slots)
        columns = [*expressions, *SUM_COLUMNS, *_MONEY_SUMS]
        group_clause = f"GROUP BY {', '.join(_number(expressions))}" if by else ""
        sql = f"SELECT {', '.join(columns)} FROM costs AS c WHERE {condition} {group_clause}"  # noqa: S608 - names of BY only
        rows = [
            [*row[: -len(_MONEY_SUMS)], *map(_parse_money, row[-len(_MONEY_SUMS) :])]
            for row in self._query(sql, [*slot_values, *values])
        ]
        return sorted(
            (build_group(by, _find_slots(by, row, slots), slots) for row in rows),
            key=make_sort_key(by),
        )

    def measure_latency(
        self,
        by: Sequence[str] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        only: Filters | None = None,
        slots: Slots | None = None,
    ) -> list[LatencyTimes]:
        """Measure how long answered calls took, see `LedgerReader.measure_latency`."""
        by = check_names(by, only, slots)
        if "day" in by:
            raise ValueError("cannot group by day: a series has slots")
        condition, values = build_condition(
            _DIALECT, since=since, until=until, only=only, zone=zone
        )
        expressions, slot_values = _build_expressions(by, slots)
        aliases = [f"a{index}" for index in range(len(by))]
        names = [f"{text} AS {alias}" for text, alias in zip(expressions, aliases, strict=True)]
        ranks = [f"v[intDiv(length(v) * {percent} + 99, 100)]" for percent in PERCENTILES]
        rows_by_column = dict[str, list[Sequence[Any]]]()
        for column in LATENCY_COLUMNS:
            sorted_values = f"arraySort(groupArray(c.{column})) AS v"
            sql = (
                f"SELECT {', '.join([*aliases, 'length(v)', *ranks])} FROM ("  # noqa: S608 - names of BY only
                f"SELECT {', '.join([*names, sorted_values])} FROM costs AS c WHERE {condition}"
                f" AND c.state IN ('settled', 'estimated') AND c.{column} IS NOT NULL"
                f" {f'GROUP BY {", ".join(aliases)}' if by else ''}) AS known WHERE notEmpty(v)"
            )
            rows_by_column[column] = [
                _find_slots(by, row, slots) for row in self._query(sql, [*slot_values, *values])
            ]
        return build_latency_times(by, rows_by_column, slots)

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
        """Return rows in the order of their receipt, without `basis`.

        They have no cursor, since gateways write them in any order. Raises ValueError for one.
        """
        if after_cursor:
            raise ValueError("ClickHouse has no cursors: select rows by time")
        check_names((), only)
        condition, values = build_condition(
            _DIALECT, since=since, until=until, only=only, zone=zone
        )
        names = (*TABLE_ENTRY_COLUMNS, "repriced")
        sql = f"""
            SELECT {_select_columns(names)} FROM priced AS c WHERE {condition}
            ORDER BY c.at, c.id LIMIT {limit:d}
        """  # noqa: S608 - columns of the schema
        return [
            StoredRow(**_decode_fields(names, row), cursor="") for row in self._query(sql, values)
        ]

    def read_attempts(self, id: str) -> list[AttemptRow]:
        """Return a call's attempts that gave no answer, in order."""
        sql = f"SELECT {_select_columns(ATTEMPT_COLUMNS)} FROM attempts AS c WHERE c.id = %s"  # noqa: S608 - of the schema
        rows = self._query(f"{sql} ORDER BY attempt", [id])
        return [AttemptRow(**_decode_fields(ATTEMPT_COLUMNS, row)) for row in rows]

    def read_feedback(self, ids: Sequence[str]) -> dict[str, FeedbackRow]:
        """Return the last feedback on each of some calls. Does not check who may give it."""
        columns = _select_columns(FEEDBACK_COLUMNS)
        sql = f"SELECT {columns} FROM verdicts AS c FINAL WHERE c.id IN (%s)"  # noqa: S608 - of the schema
        rows = [
            FeedbackRow(**_decode_fields(FEEDBACK_COLUMNS, row))
            for row in self._query(sql, [list(ids)])
        ]
        return {row.id: row for row in rows}

    def read_damages(
        self, *, since: float | None = None, until: float | None = None
    ) -> list[DamagedRow]:
        """Return gaps in the journals of all gateways, see `LedgerReader.read_damages`."""
        conditions, values = ["true"], list[object]()
        if since is not None:
            conditions.append("c.until >= %s")
            values.append(since)
        if until is not None:
            conditions.append("(c.since IS NULL OR c.since < %s)")
            values.append(until)
        sql = f"""
            SELECT {_select_columns(DAMAGE_COLUMNS)} FROM damages AS c
            WHERE {" AND ".join(conditions)} ORDER BY segment, first, last
        """  # noqa: S608 - columns of the schema
        return [
            DamagedRow(**dict(zip(DAMAGE_COLUMNS, row, strict=True)))
            for row in self._query(sql, values)
        ]

    def close(self) -> None:
        """Close connections. A closed store opens them again on use."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _read_span(self, condition: str, values: list[object]) -> tuple[float, float]:
        """Return the times of the first and the last call; zeros if there is none."""
        sql = f"SELECT min(c.at), max(c.at) FROM costs AS c WHERE {condition}"  # noqa: S608 - of `build_condition`
        first, last = self._query(sql, values)[0]
        return first, last

    def _query(self, sql: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
        with describe_errors(self._address):
            if self._client is None:
                client = open_client(self._address)
                check_version(client)
                self._client = client
            return self._client.query(sql, parameters=list(values)).result_rows


def _build_expressions(by: Sequence[str], slots: Slots | None) -> tuple[list[str], list[object]]:
    """Return the expressions to group by and their values. A time is the start of its slot."""
    expressions = _DIALECT.build_expressions(by)
    for name, column in LIST_COLUMNS_BY_NAME.items():
        if name in expressions:
            texts = f"CAST(c.{column}, 'Array(Nullable(String))')"
            expressions[name] = f"arrayJoin(if(empty({texts}), [NULL], {texts}))"
    values = list[object]()
    if slots is not None:
        expressions[SLOT if SLOT in by else "day"] = "roundDown(c.at, %s)"
        values.append(slots.starts)
    return list(expressions.values()), values


def _find_slots(by: Sequence[str], row: Sequence[Any], slots: Slots | None) -> list[Any]:
    """Return a row with the position of its slot in place of the start."""
    values = list(row)
    for index, name in enumerate(by):
        if slots is not None and name in TIME_NAMES:
            values[index] = slots.find_position(values[index])
    return values


def _number(expressions: Iterable[str]) -> list[str]:
    return [str(number) for number, _ in enumerate(expressions, 1)]


def _select_columns(names: Iterable[str]) -> str:
    """Return columns to select, with numbers that the driver would round as text."""
    return ", ".join(map(_select_column, names))


def _select_column(name: str) -> str:
    if name == UNITS_COLUMN:
        return f"mapApply((unit, quantity) -> (unit, toString(quantity)), c.{name}) AS {name}"
    return f"toString(c.{name}) AS {name}" if name in MONEY_COLUMNS else f"c.{name}"


def _decode_fields(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return {name: _decode_value(name, value) for name, value in zip(names, row, strict=True)}


def _decode_value(name: str, value: Any) -> Any:
    if name in MONEY_COLUMNS:
        return _parse_money(value)
    if name == UNITS_COLUMN:
        return {unit: Decimal(quantity) for unit, quantity in value.items()}
    return tuple(value) if name in LIST_COLUMNS else value


def _parse_money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
