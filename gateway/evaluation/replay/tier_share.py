"""Thresholds for bounds on tier shares that the log did not have, made from the replayed turns.

The replay makes them as a gateway does from its own traffic. A key's own turns count once there are
enough of them; before that its tenant's turns count, and before that there are no thresholds. The
replay renews thresholds every few seconds, or after a number of turns.
"""

import msgspec

from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext, Thresholds
from gateway.core.ledger_rows import ReplayRow
from gateway.routing.tier_share import (
    BOUNDED_INDEX,
    COUNTER_COUNT,
    MIN_TURNS,
    REASONING_INDEX,
    SMART_INDEX,
    RecentTurns,
    ShareBounds,
    compute_cut,
    find_cell,
)

CHECK_SECONDS = 2.0
"""Seconds after which new turns renew the thresholds."""
CHECK_TURNS = 200
"""The number of new turns that renew the thresholds at once."""


class _ScopeTurns:
    """The turns of a key, or of a tenant, and the thresholds made from them."""

    __slots__ = ("checked_at", "recent_turns", "thresholds", "unchecked_counts", "unchecked_turns")

    def __init__(self) -> None:
        self.unchecked_counts = [0] * COUNTER_COUNT
        self.unchecked_turns = 0
        self.checked_at = 0.0
        self.recent_turns = RecentTurns()
        self.thresholds: Thresholds | None = None


class ReplayedShares:
    """The turns replayed so far, and the thresholds that they give the next ones."""

    def __init__(self, max_shares: ShareBounds, own_thresholds: Thresholds) -> None:
        """Begin without turns. `own_thresholds` are those of the classifier that decides them."""
        self._max_shares, self._own_thresholds = max_shares, own_thresholds
        self._bounds = max_shares.reasoning, max_shares.smart
        self._scopes: dict[tuple[str, str], _ScopeTurns] = {}

    def adjust_context(self, row: ReplayRow, context: DecisionContext) -> DecisionContext:
        """Return the decision context with the thresholds of these bounds.

        Thresholds of the log stay if they were made for the same bounds.
        """
        if context.thresholds is not None and context.thresholds.bounds == self._bounds:
            return context
        key_turns, tenant_turns = self._find_scopes(row)
        thresholds = key_turns.thresholds or tenant_turns.thresholds
        return msgspec.structs.replace(context, thresholds=thresholds)

    def add_turn(self, row: ReplayRow, decision: Decision) -> None:
        """Count a turn if the classifier decided it; ignore others."""
        score, tier = decision.score, decision.classified_tier
        if score is None or tier is None or decision.source != "classifier":
            return
        for turns in self._find_scopes(row):
            turns.unchecked_counts[find_cell(score, self._own_thresholds)] += 1
            if turns.thresholds is not None:
                turns.unchecked_counts[BOUNDED_INDEX] += 1
                if tier != "fast":
                    turns.unchecked_counts[
                        REASONING_INDEX if tier == "reasoning" else SMART_INDEX
                    ] += 1
            turns.unchecked_turns += 1
            if turns.unchecked_turns >= CHECK_TURNS or row.at - turns.checked_at >= CHECK_SECONDS:
                self._update_thresholds(turns, row.at)

    def _find_scopes(self, row: ReplayRow) -> tuple[_ScopeTurns, _ScopeTurns]:
        result = []
        for scope in ((row.tenant, row.key), (row.tenant, "")):
            turns = self._scopes.get(scope)
            if turns is None:
                turns = self._scopes[scope] = _ScopeTurns()
            result.append(turns)
        return result[0], result[1]

    def _update_thresholds(self, turns: _ScopeTurns, timestamp: float) -> None:
        turns.recent_turns.add(turns.unchecked_counts)
        turns.unchecked_counts = [0] * COUNTER_COUNT
        turns.unchecked_turns = 0
        turns.checked_at = timestamp
        if turns.recent_turns.turn_count >= MIN_TURNS:
            own_thresholds = self._own_thresholds
            score_cut = compute_cut(turns.recent_turns.counts, self._max_shares)
            turns.thresholds = Thresholds(
                fast=own_thresholds.fast,
                smart=own_thresholds.smart,
                id="replay",
                cut=score_cut,
                bounds=self._bounds,
            )
