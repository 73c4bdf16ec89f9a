"""Calls with their cost and their baseline, for the savings report."""

from collections.abc import Iterator
from datetime import UTC, tzinfo

from gateway.core.ledger_rows import SavingRow
from gateway.ledger.query import Filters, build_condition, check_names
from gateway.ledger.sql_reader import SqlReader

_PAGE_ROWS = 1_000
"""Rows in memory at a time."""
_COLUMNS = (
    "c.conversation, c.tenant, c.key, c.tags, c.source, c.state, c.cost, c.baseline, c.unknown"
)


def read_saving_rows(
    store: SqlReader,
    *,
    since: float | None = None,
    until: float | None = None,
    zone: tzinfo = UTC,
    only: Filters | None = None,
) -> Iterator[SavingRow]:
    """Yield calls in no order. Raises StoreError."""
    check_names((), only)
    condition, values = build_condition(
        store.sql_dialect, since=since, until=until, only=only, zone=zone
    )
    query = f"SELECT {_COLUMNS} FROM costs AS c WHERE {condition}"  # noqa: S608 - of build_condition
    with store.open_reader() as connection:
        rows = connection.execute(query, values)
        while page := rows.fetchmany(_PAGE_ROWS):
            for conversation, tenant, key, tags, source, state, cost, baseline, unknown in page:
                yield SavingRow(
                    conversation=conversation,
                    tenant=tenant,
                    key=key,
                    tags=store.decode_value("tags", tags),
                    source=source,
                    state=state,
                    cost=store.decode_value("cost", cost),
                    baseline=store.decode_value("baseline", baseline),
                    has_unknown_cost=bool(unknown),
                )
