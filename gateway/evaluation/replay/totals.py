"""Totals of a replay: calls by tier, money, and calls that cannot be decided again."""

import heapq
from collections import Counter
from decimal import Decimal
from typing import NamedTuple

from gateway.core.ledger_rows import ReplayRow
from gateway.evaluation.replay.cost import EXACT_CONTEXT, ReplayedCost
from gateway.evaluation.replay.escalations import EscalationTotals
from gateway.evaluation.replay.intervals import ReplaySample

_ZERO = Decimal(0)
REFUSED_COLUMN = "refused"
UNTIERED_COLUMN = "no tier"


class ReplayedOutcome(NamedTuple):
    """The decision for a call; a refused call has no target."""

    lab: str | None = None
    tier: str | None = None
    target: str | None = None
    decider: str = ""
    """The rule, or the other source, that decided; for a refusal, the kind of its error."""

    @property
    def destination(self) -> tuple[str | None, str | None, str | None]:
        """The lab, tier and target that serve the call. All refusals have the same."""
        return self[:3]

    @property
    def column(self) -> str:
        """The tier, or the name of the column for calls without one."""
        if self.target is None:
            return REFUSED_COLUMN
        return self.tier or UNTIERED_COLUMN


class ChangedCall(NamedTuple):
    """A call that would have gone elsewhere."""

    id: str
    timestamp: float
    key: str
    outcome_before: ReplayedOutcome
    outcome_after: ReplayedOutcome
    usd_change: Decimal | None
    """The cost it would have had minus its cost, in USD; None if one of them is unknown."""


class ReplayGroup:
    """The sums over calls that share a key or a tag, or over all calls."""

    __slots__ = (
        "calls",
        "changed",
        "tiers_after",
        "tiers_before",
        "undecided",
        "unknown_cost_calls",
        "usd_after",
        "usd_before",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.changed = 0
        self.undecided = 0
        self.unknown_cost_calls = 0
        """Calls whose cost before or after is unknown; the sums of USD leave them out."""
        self.usd_before = _ZERO
        """The USD that the other calls cost."""
        self.usd_after = _ZERO
        """The USD that they would have cost."""
        self.tiers_before: Counter[str] = Counter()
        self.tiers_after: Counter[str] = Counter()


class ReplayTotals:
    """The totals of a whole log."""

    def __init__(self, max_changed: int) -> None:
        self.refused_early = 0
        """Calls that the gateway refused before it decided anything."""
        self.assumed_translations = 0
        """Calls for which the replay assumes that a target accepts a translated request."""
        self.total = ReplayGroup()
        self.sample = ReplaySample()
        self.deciders_before: Counter[str] = Counter()
        """Calls that were decided again, by the rule or source that decided them before."""
        self.deciders_after: Counter[str] = Counter()
        """Calls that were decided again, by the rule or source that decides them now."""
        self.guards: Counter[str] = Counter()
        """Calls by the guards that apply to them now. Calls that are refused now count for none."""
        self.keys: dict[str, ReplayGroup] = {}
        self.tags: dict[str, ReplayGroup] = {}
        self.missing_data: Counter[str] = Counter()
        """Calls that cannot be decided again, by the data that their rows lack."""
        self.cache_lost_usd = _ZERO
        """USD that calls would cost more because fewer of their tokens are in the prompt cache."""
        self.cache_gained_usd = _ZERO
        """USD that calls would cost less because more of their tokens are in the prompt cache."""
        self.escalations = EscalationTotals()
        self._max_changed = max_changed
        self._changed: list[tuple[Decimal, int, ChangedCall]] = []
        self._sequence_number = 0

    @property
    def changed(self) -> list[ChangedCall]:
        """The changed calls, with the largest change of USD first; equal ones in order of time."""
        return [
            item for *_, item in sorted(self._changed, key=lambda entry: (-entry[0], -entry[1]))
        ]

    def add_undecided(self, row: ReplayRow, missing: str) -> None:
        """Count a call that cannot be decided again; `missing` names the data that it lacks."""
        self.missing_data[missing] += 1
        for group in self._find_groups(row):
            group.calls += 1
            group.undecided += 1

    def add(
        self,
        row: ReplayRow,
        outcome_before: ReplayedOutcome,
        outcome_after: ReplayedOutcome,
        replayed_cost: ReplayedCost | None,
    ) -> None:
        """Add a call that was decided again. `replayed_cost` is None if its cost stays the same."""
        has_moved = outcome_before.destination != outcome_after.destination
        self.deciders_before[outcome_before.decider] += 1
        self.deciders_after[outcome_after.decider] += 1
        cost = row.cost
        new_cost = cost if replayed_cost is None else replayed_cost.usd
        if has_moved and outcome_after.target is None:
            new_cost = _ZERO
        elif has_moved and outcome_before.target is None:
            new_cost = None  # nobody knows the answer that it would have got
        for group in self._find_groups(row):
            group.calls += 1
            group.tiers_before[outcome_before.column] += 1
            group.tiers_after[outcome_after.column] += 1
            group.changed += has_moved
            if cost is not None and new_cost is not None:
                if cost:
                    group.usd_before = EXACT_CONTEXT.add(group.usd_before, cost)
                if new_cost:
                    group.usd_after = EXACT_CONTEXT.add(group.usd_after, new_cost)
            else:
                group.unknown_cost_calls += 1
        if cost is not None and new_cost is not None:
            expected_usd = 0.0 if replayed_cost is None else replayed_cost.expected_usd
            self.sample.add_money(
                row, float(cost), float(new_cost), expected_usd, outcome_after.tier
            )
        self.sample.add_quality(row, outcome_before.tier, outcome_after.tier)
        if replayed_cost is not None and cost is not None and new_cost is not None:
            if replayed_cost.cache_effect_usd > 0:
                self.cache_lost_usd = EXACT_CONTEXT.add(
                    self.cache_lost_usd, replayed_cost.cache_effect_usd
                )
            else:
                self.cache_gained_usd = EXACT_CONTEXT.subtract(
                    self.cache_gained_usd, replayed_cost.cache_effect_usd
                )
        if has_moved:
            self._add_changed(row, outcome_before, outcome_after, new_cost)

    def _add_changed(
        self,
        row: ReplayRow,
        outcome_before: ReplayedOutcome,
        outcome_after: ReplayedOutcome,
        new_cost: Decimal | None,
    ) -> None:
        cost = row.cost
        usd_change = (
            None if cost is None or new_cost is None else EXACT_CONTEXT.subtract(new_cost, cost)
        )
        self._sequence_number -= 1  # of calls that change as much money, the first ones stay
        changed = ChangedCall(row.id, row.at, row.key, outcome_before, outcome_after, usd_change)
        item = abs(usd_change or _ZERO), self._sequence_number, changed
        if len(self._changed) < self._max_changed:
            heapq.heappush(self._changed, item)
        elif self._max_changed:
            heapq.heappushpop(self._changed, item)

    def _find_groups(self, row: ReplayRow) -> list[ReplayGroup]:
        groups = [self.total, _get_group(self.keys, row.key)]
        return groups + [_get_group(self.tags, tag) for tag in row.tags] if row.tags else groups


def _get_group(groups: dict[str, ReplayGroup], name: str) -> ReplayGroup:
    group = groups.get(name)
    if group is None:
        group = groups[name] = ReplayGroup()
    return group
