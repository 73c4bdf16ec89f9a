"""Compare the stored sums of all quarters and days of some time with their rows."""

from collections.abc import Iterator
from typing import Any

from gateway.ledger.rollup_schema import (
    KIND_GROUPS,
    QUARTER_SECONDS,
    QUARTERS_PER_DAY,
    RollupSql,
)
from gateway.ledger.rollups import Period, Rollups
from gateway.ledger.store import SumsReport


def mark_all(connection: Any, rollups: Rollups, sql: RollupSql) -> None:
    """Mark all quarters and days as pending, within a transaction: their sums are made again."""
    quarters, days = _list_starts(connection, sql, 0.0)
    rollups.mark_quarters(connection, [*quarters, *(day * QUARTERS_PER_DAY for day in days)])


def check_sums(
    connection: Any, rollups: Rollups, sql: RollupSql, since: float
) -> Iterator[SumsReport]:
    """Yield a report for each quarter and day that has rows or sums, outside a transaction.

    The rows of a quarter or day that is pending are not compared: questions read them.
    """
    for by_day, starts in enumerate(_list_starts(connection, sql, since)):
        for start in starts:
            period = Period(bool(by_day), start, 0)
            if not _is_pending(connection, sql, period):
                count = _count_differences(connection, rollups, sql, period)
                yield SumsReport(*period.seconds, count)


def _list_starts(connection: Any, sql: RollupSql, since: float) -> tuple[list[int], list[int]]:
    """Return the quarters, and the days, from that of a moment on that have rows or sums."""
    first = int(max(since, 0.0) // QUARTER_SECONDS)
    rows = connection.execute(
        f"SELECT DISTINCT {sql.quarter} FROM entries AS c WHERE c.at >= {sql.placeholder}",  # noqa: S608 - of this package
        [first * QUARTER_SECONDS],
    ).fetchall()
    quarters = {int(row[0]) for row in rows} | _list_sums(connection, sql, first, by_day=False)
    days = {quarter // QUARTERS_PER_DAY for quarter in quarters}
    days |= _list_sums(connection, sql, first // QUARTERS_PER_DAY, by_day=True)
    return sorted(quarters), sorted(days)


def _list_sums(connection: Any, sql: RollupSql, first: int, *, by_day: bool) -> set[int]:
    kinds = [str(kind.number) for group in KIND_GROUPS[by_day] for kind in group.kinds]
    rows = connection.execute(
        f"SELECT DISTINCT start FROM rollups WHERE kind IN ({', '.join(kinds)})"  # noqa: S608 - of this package
        f" AND start >= {sql.placeholder}",
        [first],
    ).fetchall()
    return {int(row[0]) for row in rows}


def _count_differences(connection: Any, rollups: Rollups, sql: RollupSql, period: Period) -> int:
    count = rollups.count_differences(connection, period)
    if count:
        # A row may have come, and its sums been made, during the first comparison.
        count = rollups.count_differences(connection, period)
    return 0 if _is_pending(connection, sql, period) else count


def _is_pending(connection: Any, sql: RollupSql, period: Period) -> bool:
    query = (
        f"SELECT 1 FROM rollup_pending WHERE by_day = {int(period.by_day)}"  # noqa: S608 - of this package
        f" AND start = {sql.placeholder}"
    )
    return connection.execute(query, [period.start]).fetchone() is not None
