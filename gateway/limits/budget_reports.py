"""Reports of budgets to the operator: in the log, and at the receiver of alerts."""

from collections.abc import Callable, Iterable

from gateway.core.decision import SkippedTarget
from gateway.core.ledger_rows import FinalRow
from gateway.limits.counters import CounterDemand, Owner, Refusal, is_user_counter
from gateway.limits.rules import describe_counter
from gateway.telemetry.log import Log

_MAX_REPORTED = 10_000


class BudgetReports:
    """The reports of budgets that are used up, or that cross their soft limit."""

    def __init__(self, log: Log, alert: Callable[[Owner, CounterDemand], object]) -> None:
        self._log = log
        self._alert = alert
        self._exhausted: set[tuple[Owner, str]] = set()
        """Used-up budgets that the operator knows of, by owner and counter."""

        self._unbounded: set[str] = set()
        """Targets without a bound that the operator knows of."""
        self._exceeding: set[str] = set()
        """Models whose calls cost more than was reserved, as far as the operator knows."""

    def forget(self) -> None:
        """Report each used-up budget again."""
        self._exhausted.clear()

    def trim(self) -> None:
        """Bound the number of budgets that are remembered as reported."""
        if len(self._exhausted) > _MAX_REPORTED:
            self._exhausted.clear()

    def report_exhausted(self, tenant: str, answer: Refusal) -> None:
        """Report a used-up budget to the operator, once in each window.

        A call that is larger than the whole budget does not show that any of it is used.
        """
        demand = answer.demand
        counter_key = demand.owner(tenant), demand.field
        is_oversized = 0 < demand.limit < demand.amount
        is_exhausted = demand.kind in ("usd", "share") and not (answer.busy or is_oversized)
        if is_exhausted and counter_key not in self._exhausted:
            self._exhausted.add(counter_key)
            self._report(demand.owner(tenant), demand, "used up")

    def report_unbounded(self, skipped_targets: Iterable[SkippedTarget]) -> None:
        """Log each target that hard budgets skip, once: its cost has no bound."""
        for name in {skipped.target for skipped in skipped_targets} - self._unbounded:
            self._unbounded.add(name)
            self._log("budget", text=f"{name} is skipped: its cost has no bound")

    def report_excess(self, row: FinalRow, micro_usd: int) -> None:
        """Log a call that cost more than hard budgets reserved, once for each model."""
        model = f"{row.provider}/{row.model}"
        if model not in self._exceeding and len(self._exceeding) < _MAX_REPORTED:
            self._exceeding.add(model)
            text = f"{model} cost {micro_usd} micro-USD more than was reserved"
            self._log("budget", call=row.id, text=text)

    def report_soft(self, owner: Owner, demand: CounterDemand) -> None:
        """Report a budget that crosses its soft limit."""
        self._report(owner, demand, "soft limit passed")

    def _report(self, owner: Owner, demand: CounterDemand, text: str) -> None:
        if is_user_counter(demand.field):
            return  # nobody acts on each end user who has used up a budget, and there may be many
        self._log(
            "budget",
            name=demand.name,
            scope=describe_counter(owner, demand),
            counter=demand.field,
            text=text,
        )
        self._alert(owner, demand)
