"""The sums of calls, as JSON or CSV."""

from typing import NamedTuple

from gateway.core import jsonio
from gateway.ledger import export
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.server.queries import MAX_SECONDS


class RenderedSums(NamedTuple):
    """The sums of calls in the requested format."""

    body: bytes
    damaged_rows: int
    """The number of rows that the journals lack in this time."""


def render_sums(store: LedgerStore, query: LedgerQuery, format: str) -> RenderedSums:
    """Group calls and add them up, as `json` or `csv`. Raises QueryTooLongError."""
    limit = QuestionLimit(MAX_SECONDS)
    selection = {**query.selection, "question_limit": limit}
    (total,) = store.sum_costs((), **selection)
    groups = store.sum_costs(query.by, zone=query.time_zone, **selection)
    damaged_rows = count_damaged_rows(store.read_damages(since=query.since, until=query.until))
    if format == "csv":
        return RenderedSums(export.format_groups_csv(query.by, groups).encode(), damaged_rows)
    sums = export.build_sums(query, groups, total, damaged_rows=damaged_rows)
    return RenderedSums(jsonio.dumps({**sums, "from_rows": limit.reads_rows}), damaged_rows)
