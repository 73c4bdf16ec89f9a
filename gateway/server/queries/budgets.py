"""The spending of budgets in the ledger: now, and in the steps before for a forecast."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.limits.budget_forecast import SpendingSteps
from gateway.limits.budget_status import BudgetStatus
from gateway.server.queries.spending_steps import count_spending, read_steps

_MAX_USERS = 20
"""The most end users of a budget, the dearest."""


class SpendingHistory(msgspec.Struct, frozen=True):
    """The spending in the steps before a moment, by subject."""

    steps: SpendingSteps
    amounts: Mapping[str | None, Sequence[Decimal]]


class BudgetSpending(NamedTuple):
    """The spending of one budget."""

    amounts: Mapping[str | None, Decimal]
    """USD in its window by subject. Unknown costs count at the maximum."""
    history: SpendingHistory | None
    """None if it is not asked for."""
    damaged_rows: int
    """The number of rows that the journals lack in its window."""


def read_all_spending(
    store: LedgerStore,
    statuses: Sequence[BudgetStatus],
    all_steps: Sequence[SpendingSteps | None],
    now: float,
) -> list[BudgetSpending]:
    """Return the spending of each budget, with its history in the steps that stand beside it."""
    return [
        BudgetSpending(
            read_spending(store, status),
            None if steps is None else _read_history(store, status, steps, now),
            count_damaged_rows(
                store.read_damages(since=status.window.start, until=status.window.end)
            ),
        )
        for status, steps in zip(statuses, all_steps, strict=True)
    ]


def read_spending(store: LedgerStore, status: BudgetStatus) -> dict[str | None, Decimal]:
    """Return a budget's spending in the ledger by subject. Unknown costs count at the maximum."""
    if status.kind == "share":
        return {}
    by = () if status.apart is None else (status.apart,)
    window = status.window
    if status.apart == "user":
        groups = store.sum_costs(
            ("key", "user"), only=status.filters, since=window.start, until=window.end
        )
        named_groups = [group for group in groups if group.names[1] is not None]
        return {
            "/".join(map(str, group.names)): count_spending(group)
            for group in named_groups[:_MAX_USERS]
        }
    groups = store.sum_costs(by, only=status.filters, since=window.start, until=window.end)
    return {(group.names[0] if by else None): count_spending(group) for group in groups}


def _read_history(
    store: LedgerStore, status: BudgetStatus, steps: SpendingSteps, now: float
) -> SpendingHistory:
    by = () if status.apart is None else (status.apart,)
    return SpendingHistory(steps, read_steps(store, by, status.filters, steps, now))
