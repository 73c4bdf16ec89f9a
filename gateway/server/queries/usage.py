"""The calls of one key by day and model, and the spending of its budgets."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.limits.budget_status import BudgetStatus
from gateway.server.queries import MAX_SECONDS
from gateway.server.queries.budgets import read_spending


class KeyUsage(NamedTuple):
    """The spending of a key."""

    groups: list[QueryGroup]
    total: QueryGroup
    all_spending: list[Mapping[str | None, Decimal]]
    """The spending of each budget, by subject."""
    damaged_rows: int
    """The number of rows that the journals lack in this time; they may be another key's."""


def read_usage(
    store: LedgerStore, query: LedgerQuery, statuses: Sequence[BudgetStatus]
) -> KeyUsage:
    """Sum the calls that a query selects, and those of some budgets. Raises QueryTooLongError."""
    selection = {**query.selection, "question_limit": QuestionLimit(MAX_SECONDS)}
    (total,) = store.sum_costs((), **selection)
    groups = store.sum_costs(query.by, zone=query.time_zone, **selection)
    damaged_rows = count_damaged_rows(store.read_damages(since=query.since, until=query.until))
    return KeyUsage(
        groups, total, [read_spending(store, status) for status in statuses], damaged_rows
    )
