"""Calls that have an arm, conversation by conversation."""

from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo
from typing import Any

from gateway.core.ledger_rows import ArmRow, is_rated_good
from gateway.ledger.errors import QueryTooLargeError
from gateway.ledger.query import Filters, build_condition, check_names
from gateway.ledger.query_params import is_storable
from gateway.ledger.sql_reader import SqlReader

MAX_CALLS = 500_000
"""The most calls that a query reads: their times and their sums fit into some 100 MB."""
_PAGE_ROWS = 1_000
"""Rows in memory at a time."""
_COLUMNS = (
    "c.arm, c.conversation, c.tenant, c.key, c.state, c.aborted_by, c.cost, c.unknown,"
    " c.first_content, c.duration, f.verdict, f.score"
)
# Feedback of another tenant on a call does not count, as in the view `feedback`.
_SOURCE = "costs AS c LEFT JOIN verdicts AS f ON f.id = c.id AND f.tenant = c.tenant"


def read_arm_rows(
    store: SqlReader,
    rule: str = "",
    *,
    since: float | None = None,
    until: float | None = None,
    zone: tzinfo = UTC,
    only: Filters | None = None,
    max_calls: int = MAX_CALLS,
    max_seconds: float | None = None,
) -> Iterator[ArmRow]:
    """Yield the calls that have an arm of a rule, or of any rule.

    The calls of a conversation come together, and so do those of a key that belong to none. Raises
    QueryTooLongError after `max_seconds`, QueryTooLargeError above `max_calls`, and StoreError.
    """
    check_names((), only)
    dialect = store.sql_dialect
    condition, values = build_condition(dialect, since=since, until=until, only=only, zone=zone)
    condition += " AND c.arm IS NOT NULL"
    if not is_storable(rule):
        return
    if rule:
        # More rows may match, as case does not matter to LIKE in SQLite: readers compare the names.
        condition += f" AND ', ' || c.arm LIKE {dialect.placeholder} ESCAPE '!'"
        values.append(f"%, {_escape(rule)}:%")
    query = (
        f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE {condition}"  # noqa: S608 - of build_condition
        f" ORDER BY c.conversation, c.tenant, c.key LIMIT {dialect.placeholder}"
    )
    count = 0
    with store.open_reader() as connection, store.limit_time(connection, max_seconds):
        rows = connection.execute(query, [*values, max_calls + 1])
        while page := rows.fetchmany(_PAGE_ROWS):
            count += len(page)
            if count > max_calls:
                raise QueryTooLargeError(max_calls)
            for row in page:
                yield _build_row(store, row)


def _build_row(store: SqlReader, row: Sequence[Any]) -> ArmRow:
    arm, conversation, tenant, key, state, aborted_by, cost, unknown, *times, verdict, score = row
    first_content, duration = times
    return ArmRow(
        arm=arm,
        conversation=conversation,
        tenant=tenant,
        key=key,
        state=state,
        aborted_by=aborted_by,
        cost=store.decode_value("cost", cost),
        has_unknown_cost=bool(unknown),
        first_content=first_content,
        duration=duration,
        is_good=is_rated_good(verdict, score),
    )


def _escape(text: str) -> str:
    """Return a text of which LIKE takes each character as it is."""
    for character in "!%_":
        text = text.replace(character, f"!{character}")
    return text
