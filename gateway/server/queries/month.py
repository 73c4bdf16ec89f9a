"""The month to date: the sums of its calls, and the spending before it for a forecast."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.limits.budget_forecast import SpendingSteps
from gateway.server.queries.spending_steps import read_steps


class MonthToDate(NamedTuple):
    """The calls of a month until now."""

    total: QueryGroup
    damaged_rows: int
    """The number of rows that the journals lack in this time."""
    amounts: Sequence[Decimal] | None
    """The USD of each step before now; None if no steps were asked for."""


def read_month(
    store: LedgerStore, query: LedgerQuery, steps: SpendingSteps | None, now: float
) -> MonthToDate:
    """Sum the calls that a query selects, and their like in the steps before now."""
    (total,) = store.sum_costs((), **query.selection)
    amounts = None
    if steps is not None:
        amounts = read_steps(store, (), query.only, steps, now).get(None, [])
    damages = store.read_damages(since=query.since, until=query.until)
    return MonthToDate(total, count_damaged_rows(damages), amounts)
