"""Results of a rule's arms: cost, time, failures and ratings of the calls in, and of the calls out.

A rule with `traffic` assigns conversations to its arms, and the calls of a conversation are alike.
So every interval comes from the differences between conversations (`metrics/clustered.py`). The
calls of a key that belong to no conversation are on one side together: they count as one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from itertools import groupby
from typing import Final

from gateway.core.jsonio import Json
from gateway.core.ledger_rows import ArmRow, has_failed
from gateway.evaluation.metrics.bootstrap import CONFIDENCE_LEVEL
from gateway.evaluation.metrics.clustered import ClusterSums, ClusterValues
from gateway.evaluation.metrics.figure import Figure, describe_money, describe_number, subtract
from gateway.routing.rules.traffic import parse_arms

ARM_NAMES: Final = ("in", "out")
_EXACT_CONTEXT = Context(prec=100)
_PERCENTILES: Final = (50, 95)
_LATENCIES: Final = ("first_content", "duration")
_MEASURED_STATES = ("settled", "estimated")
"""The states of calls that a provider answered: others tell nothing of its time."""
_MONEY_FIGURES: Final = ("cost_per_call", "cost_per_conversation")


class ArmSample:
    """The calls of one arm of a rule, added conversation by conversation."""

    def __init__(self) -> None:
        self.unknown_costs = 0
        """Calls whose whole cost is unknown. No mean of costs has them, nor their conversations."""
        self.cost: Decimal | None = None
        """The exact USD of all calls, as far as known; None if none has a known cost."""
        self.calls = ClusterSums()
        """The calls of each conversation: a cluster is one conversation with one value."""
        self.failures = ClusterSums()
        self.ratings = ClusterSums()
        """Calls with feedback; 1 is a good answer."""
        self._call_costs = ClusterSums()
        self._conversation_costs = ClusterSums()
        self._latencies = {name: ClusterValues() for name in _LATENCIES}

    def add_conversation(self, rows: Sequence[ArmRow]) -> None:
        """Add all calls of a conversation."""
        self.calls.add(len(rows), 1)
        self.failures.add(sum(has_failed(row.state, row.aborted_by) for row in rows), len(rows))
        ratings = [row.is_good for row in rows if row.is_good is not None]
        self.ratings.add(sum(ratings), len(ratings))
        self._add_costs(rows)
        answers = [row for row in rows if row.state in _MEASURED_STATES]
        for name, values in self._latencies.items():
            seconds = [getattr(row, name) for row in answers]
            values.add([value for value in seconds if value is not None])

    def _add_costs(self, rows: Sequence[ArmRow]) -> None:
        costs = [row.cost for row in rows if row.cost is not None]
        for cost in costs:
            self.cost = cost if self.cost is None else _EXACT_CONTEXT.add(self.cost, cost)
        unknown_costs = sum(row.has_unknown_cost for row in rows)
        self.unknown_costs += unknown_costs
        whole_costs = [
            float(row.cost) for row in rows if row.cost is not None and not row.has_unknown_cost
        ]
        self._call_costs.add(sum(whole_costs), len(whole_costs))
        if len(whole_costs) == len(rows):
            self._conversation_costs.add(sum(whole_costs), 1)

    def estimate_figures(self) -> dict[str, Figure | None]:
        """Return the figures by name, each with its 95% interval; None for one without a call.

        Money is in USD, time in seconds. `failed` and `good` are shares of calls.
        """
        latencies = {
            f"{name}_p{percentile}": figure
            for name, values in self._latencies.items()
            for percentile, figure in zip(
                _PERCENTILES,
                values.estimate_quantiles([percentile / 100 for percentile in _PERCENTILES]),
                strict=True,
            )
        }
        return {
            "calls_per_conversation": self.calls.estimate_mean(),
            "cost_per_call": self._call_costs.estimate_mean(),
            "cost_per_conversation": self._conversation_costs.estimate_mean(),
            **latencies,
            "failed": self.failures.estimate_share(),
            "good": self.ratings.estimate_share(),
        }


class RuleSample:
    """The calls of both arms of a rule."""

    def __init__(self) -> None:
        self.arms = {name: ArmSample() for name in ARM_NAMES}
        self.in_both = 0
        """Conversations with calls in both arms: `traffic` was changed between them."""

    def add_conversation(self, rows: Mapping[bool, Sequence[ArmRow]]) -> None:
        """Add all calls of a conversation; True has the calls that are in."""
        self.in_both += len(rows) > 1
        for is_in, arm_rows in rows.items():
            self.arms[ARM_NAMES[not is_in]].add_conversation(arm_rows)


def sample_arms(rows: Iterable[ArmRow], rule: str = "") -> dict[str, RuleSample]:
    """Return the calls by rule, or those of one rule alone, sorted by its name.

    The rows of a conversation must come together.
    """
    samples: defaultdict[str, RuleSample] = defaultdict(RuleSample)
    for _, conversation_rows in groupby(rows, _find_owner):
        rows_by_rule: defaultdict[str, dict[bool, list[ArmRow]]] = defaultdict(dict)
        for row in conversation_rows:
            for name, is_in in parse_arms(row.arm).items():
                if rule in ("", name):
                    rows_by_rule[name].setdefault(is_in, []).append(row)
        for name, arm_rows in rows_by_rule.items():
            samples[name].add_conversation(arm_rows)
    return dict(sorted(samples.items()))


def _find_owner(row: ArmRow) -> tuple[str | None, str, str]:
    """Return what the rule draws with a call: its conversation, or its key if it has none."""
    return (row.conversation, "", "") if row.conversation else (None, row.tenant, row.key)


def describe_results(
    samples: Mapping[str, RuleSample],
    *,
    since: float | None,
    until: float | None,
    zone: str,
    damaged_rows: int,
) -> dict[str, Json]:
    """Return the results of rules as JSON. Money is text, and null is unknown.

    `since` and `until` are seconds since the epoch. `damaged_rows` is the number of rows that the
    journals lack in this time: their calls may be missing.
    """
    return {
        "since": since,
        "until": until,
        "zone": zone,
        "confidence": CONFIDENCE_LEVEL,
        "rules": [{"rule": rule, **_describe_rule(sample)} for rule, sample in samples.items()],
        "damaged_rows": damaged_rows,
    }


def _describe_rule(sample: RuleSample) -> dict[str, Json]:
    figures = {name: arm.estimate_figures() for name, arm in sample.arms.items()}
    differences = {
        name: None if outside is None or inside is None else subtract(inside, outside)
        for (name, inside), outside in zip(
            figures["in"].items(), figures["out"].values(), strict=True
        )
    }
    return {
        **{name: _describe_arm(arm, figures[name]) for name, arm in sample.arms.items()},
        "in_both": sample.in_both,
        "differences": _describe_figures(differences),
        "findings": {
            name: None if difference is None else difference.finding
            for name, difference in differences.items()
        },
    }


def _describe_arm(arm: ArmSample, figures: Mapping[str, Figure | None]) -> dict[str, Json]:
    return {
        "conversations": arm.calls.clusters,
        "calls": round(arm.calls.total),
        "cost": None if arm.cost is None else f"{arm.cost:f}",
        "unknown": arm.unknown_costs,
        "failed": round(arm.failures.total),
        "rated": arm.ratings.count,
        "good": round(arm.ratings.total),
        "figures": _describe_figures(figures),
    }


def _describe_figures(figures: Mapping[str, Figure | None]) -> dict[str, Json]:
    return {
        name: describe_money(figure)
        if name in _MONEY_FIGURES
        else describe_number(figure, digits=6)
        for name, figure in figures.items()
    }
