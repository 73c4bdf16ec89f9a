"""The spending in the steps of time before a moment, for a forecast."""

from collections.abc import Sequence
from decimal import Decimal

from gateway.ledger.query import Filters, QueryGroup, Slots
from gateway.ledger.store import LedgerStore
from gateway.limits.budget_forecast import SpendingSteps

_QUARTER_HOUR = 900.0


def read_steps(
    store: LedgerStore, by: Sequence[str], only: Filters, steps: SpendingSteps, now: float
) -> dict[str | None, list[Decimal]]:
    """Return the USD of each step by subject, which is the only name of `by`, or None.

    Steps of a quarter of an hour or more end at the last full one, as the sums of a store do.
    """
    end = now - now % _QUARTER_HOUR if steps.seconds >= _QUARTER_HOUR else now
    starts = steps.list_starts(end)
    names = [str(index) for index in range(len(starts))]
    groups = store.sum_costs(by, only=only, since=starts[0], until=end, slots=Slots(names, starts))
    amounts: dict[str | None, list[Decimal]] = {}
    for group in groups:
        *subject, step = group.names
        spent = amounts.setdefault(subject[0] if subject else None, [Decimal(0)] * steps.count)
        spent[min(int(step or 0), steps.count - 1)] += count_spending(group)
    return amounts


def count_spending(group: QueryGroup) -> Decimal:
    """Return the USD of some calls; unknown costs count at the maximum."""
    return (group.cost or Decimal(0)) + (group.reserved or Decimal(0))
