"""The calls of one key by day and model, and the spending of its budgets."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore
from gateway.limits.budget_status import BudgetStatus
from gateway.server.queries.budgets import read_spending


class KeyUsage(NamedTuple):
    """What a key has spent."""

    groups: list[QueryGroup]
    total: QueryGroup
    all_spending: list[Mapping[str | None, Decimal]]
    """The spending of each budget, by subject."""


def read_usage(
    store: LedgerStore, query: LedgerQuery, statuses: Sequence[BudgetStatus]
) -> KeyUsage:
    """Sum the calls that a query selects, and those of some budgets."""
    (total,) = store.sum_costs((), **query.selection)
    groups = store.sum_costs(query.by, zone=query.time_zone, **query.selection)
    return KeyUsage(groups, total, [read_spending(store, status) for status in statuses])
