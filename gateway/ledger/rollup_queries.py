"""Plan which sums answer a question, and which rows.

A question takes the sums of the smallest kind that has all of its names: of whole days where no
slot begins within one, else of quarters. It reads the rows of quarters that are pending, and of
those that it does not cover whole.
"""

import math
from collections.abc import Sequence
from datetime import tzinfo
from itertools import groupby
from typing import Any, NamedTuple

from gateway.ledger.query import (
    TIME_NAMES,
    Filters,
    Slots,
    find_column,
    find_day,
)
from gateway.ledger.rollup_schema import (
    QUARTER_SECONDS,
    QUARTERS_PER_DAY,
    RollupKind,
    RollupSql,
    find_kind,
)

_MAX_ROW_PARTS = 50
"""The most parts of a question that read rows. With more, the question reads rows alone."""


class Question(NamedTuple):
    """A question to the ledger, with names that exist."""

    by: Sequence[str]
    """Names to group by; a slot is the last."""
    since: float | None
    until: float | None
    zone: tzinfo
    only: Filters
    slots: Slots | None
    """The slots, or the days of a zone."""


class QuestionPart(NamedTuple):
    """A span of a question's time that one query answers."""

    kind: RollupKind | None
    """The sums to read; None for rows."""
    first: int
    """Quarters or days since the epoch, for sums."""
    end: int
    since: float | None = None
    """Seconds since the epoch, for rows."""
    until: float | None = None


def plan(
    connection: Any,
    sql: RollupSql,
    question: Question,
    span: tuple[float, float] | None,
    *,
    latency: bool = False,
) -> list[QuestionPart]:
    """Return the parts of a question. `span` has the times of the first and the last call."""
    rows_alone = [QuestionPart(None, 0, 0, question.since, question.until)]
    columns = frozenset(
        find_column(name) for name in (*question.by, *question.only) if name not in TIME_NAMES
    )
    quarter_kind = find_kind(columns, by_day=False, latency=latency)
    day_kind = find_kind(columns, by_day=True, latency=latency)
    bounds = _list_bounds(question)
    if (
        span is None
        or (quarter_kind is None and day_kind is None)
        or any(bound % QUARTER_SECONDS for bound in bounds)
    ):
        return rows_alone
    first, end, edges = _find_quarters(question, span)
    if first >= end:
        return rows_alone
    cut_days = {bound // QUARTER_SECONDS // QUARTERS_PER_DAY for bound in bounds if bound % 86_400}
    pending = _read_pending(connection, sql, first, end)
    pieces: list[tuple[RollupKind | None, int, int]] = []
    quarter = first
    while quarter < end:
        day, offset = divmod(quarter, QUARTERS_PER_DAY)
        is_whole = not offset and quarter + QUARTERS_PER_DAY <= end
        if day_kind and is_whole and day not in cut_days and (1, day) not in pending:
            pieces.append((day_kind, day, day + 1))
            quarter += QUARTERS_PER_DAY
        else:
            kind = None if (0, quarter) in pending else quarter_kind
            pieces.append((kind, quarter, quarter + 1))
            quarter += 1
    parts = []
    for kind, group in groupby(pieces, key=lambda piece: piece[0]):
        members = list(group)
        start, stop = members[0][1], members[-1][2]
        seconds = (None, None) if kind else (start * QUARTER_SECONDS, stop * QUARTER_SECONDS)
        parts.append(QuestionPart(kind, start, stop, *seconds))
    parts += [QuestionPart(None, 0, 0, *edge) for edge in edges]
    row_quarters = sum(1 for kind, *_ in pieces if kind is None)
    # To count latencies takes longer than to sort them in SQL, and is not exact.
    if latency and row_quarters * 2 > end - first:
        return rows_alone
    return rows_alone if sum(not part.kind for part in parts) > _MAX_ROW_PARTS else parts


def _list_bounds(question: Question) -> list[float]:
    """Return the moments at which a slot or a day that is asked for begins or ends."""
    bounds = [] if question.slots is None else list(question.slots.starts)
    for text in question.only.get("day", ()):
        bounds += find_day(text, question.zone) or ()
    return bounds


def _find_quarters(
    question: Question, span: tuple[float, float]
) -> tuple[int, int, list[tuple[float, float]]]:
    """Return the whole quarters of a question, and what is left at its ends."""
    since, until = question.since, question.until
    first_call, last_call = (int(moment // QUARTER_SECONDS) for moment in span)
    # Whole days, if the question has them: what is before the first call has no calls.
    first = first_call // QUARTERS_PER_DAY * QUARTERS_PER_DAY
    end = (last_call // QUARTERS_PER_DAY + 1) * QUARTERS_PER_DAY
    edges = []
    if since is not None and since > first * QUARTER_SECONDS:
        first = math.ceil(since / QUARTER_SECONDS)
        edges.append((since, float(first * QUARTER_SECONDS)))
    if until is not None and until < end * QUARTER_SECONDS:
        end = math.floor(until / QUARTER_SECONDS)
        edges.append((float(end * QUARTER_SECONDS), until))
    return first, end, [edge for edge in edges if edge[0] < edge[1]]


def _read_pending(
    connection: Any, sql: RollupSql, first: int, end: int
) -> frozenset[tuple[int, int]]:
    mark = sql.placeholder
    rows = connection.execute(
        "SELECT by_day, start FROM rollup_pending"  # noqa: S608 - of this package
        f" WHERE by_day = 0 AND start >= {mark} AND start < {mark}"
        f" OR by_day = 1 AND start >= {mark} AND start < {mark}",
        [first, end, first // QUARTERS_PER_DAY, end // QUARTERS_PER_DAY + 1],
    ).fetchall()
    return frozenset((row[0], row[1]) for row in rows)
