"""Bounds on the shares of tiers that the log did not have: made of the replayed turns themselves.

As the gateway makes them of its own traffic: of a key's turns once there are enough, before that of
its tenant's, before that none; looked at every few seconds, or turns.
"""

import msgspec

from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext, Thresholds
from gateway.core.ledger_rows import ReplayRow
from gateway.routing.tier_share import (
    BOUNDED,
    REASONED,
    SMART,
    TURNS,
    WIDTH,
    RecentTurns,
    ShareBounds,
    cell,
    cut,
)

EVERY = 2.0
"""Seconds after which what was noted is looked at."""
SOON = 200
"""Turns after which it is at once."""


class _Turns:
    """Those of a key, or of a tenant."""

    __slots__ = ("at", "fresh", "made", "many", "recent")

    def __init__(self) -> None:
        self.fresh = [0] * WIDTH
        self.many = 0
        self.at = 0.0
        self.recent = RecentTurns()
        self.made: Thresholds | None = None


class ReplayedShares:
    """Notes turns, and says what the next ones are held against."""

    def __init__(self, most: ShareBounds, own: Thresholds) -> None:
        """`own` are the thresholds of the classifier whose turns are bounded."""
        self._most, self._own = most, own
        self._bounds = most.reasoning, most.smart
        self._scopes: dict[tuple[str, str], _Turns] = {}

    def evidence(self, row: ReplayRow, told: DecisionContext) -> DecisionContext:
        """The evidence of a call: the log's, where that was made for the same bounds."""
        if told.thresholds is not None and told.thresholds.bounds == self._bounds:
            return told
        key, tenant = self._of(row)
        made = key.made or tenant.made
        return msgspec.structs.replace(told, thresholds=made)

    def note(self, row: ReplayRow, decision: Decision) -> None:
        """Count a turn that the classifier decided; any other is none."""
        score, tier = decision.score, decision.classified
        if score is None or tier is None or decision.source != "classifier":
            return
        for turns in self._of(row):
            turns.fresh[cell(score, self._own)] += 1
            if turns.made is not None:
                turns.fresh[BOUNDED] += 1
                if tier != "fast":
                    turns.fresh[REASONED if tier == "reasoning" else SMART] += 1
            turns.many += 1
            if turns.many >= SOON or row.at - turns.at >= EVERY:
                self._look(turns, row.at)

    def _of(self, row: ReplayRow) -> tuple[_Turns, _Turns]:
        found = []
        for place in ((row.tenant, row.key), (row.tenant, "")):
            turns = self._scopes.get(place)
            if turns is None:
                turns = self._scopes[place] = _Turns()
            found.append(turns)
        return found[0], found[1]

    def _look(self, turns: _Turns, at: float) -> None:
        turns.recent.add(turns.fresh)
        turns.fresh, turns.many, turns.at = [0] * WIDTH, 0, at
        if turns.recent.turns >= TURNS:
            own, found = self._own, cut(turns.recent.counts, self._most)
            turns.made = Thresholds(
                fast=own.fast, smart=own.smart, id="replay", cut=found, bounds=self._bounds
            )
