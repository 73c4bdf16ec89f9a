"""The escalations of a replay: how many answers have a fault, and what a second answer would cost.

Only a row whose answer was checked tells if it has a fault. The second answer has the call's own
prompt, not from a cache, and the usual length of its tier.
"""

from decimal import Decimal

import msgspec

from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ReplayRow
from gateway.dialects import Dialect
from gateway.evaluation.replay.cost import EXACT_CONTEXT, compute_replayed_cost
from gateway.evaluation.replay.output_tokens import TierOutputTokens
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.errors import MissingFeatureError
from gateway.routing.features import Features
from gateway.routing.router import Router


class EscalationTotals:
    """The answers that the replayed configuration checks, and what it does about their faults."""

    def __init__(self) -> None:
        self.answers = 0
        """Answers that this configuration would check."""
        self.unknown = 0
        """Answers among them that nobody checked, or that somebody checked for another tier."""
        self.escalated = 0
        """Answers with a fault, whose tier above would be asked."""
        self.already = 0
        """Escalated answers whose tier above was asked then: their cost has it."""
        self.unpriced = 0
        """Escalated answers whose second answer has no known cost."""
        self.added_usd = Decimal(0)
        """The expected USD of all other second answers."""


class ReplayedEscalations:
    """The escalations of one replay, added up in `totals`."""

    def __init__(
        self, router: Router, output_tokens: TierOutputTokens, totals: EscalationTotals
    ) -> None:
        self._router = router
        self._output_tokens = output_tokens
        self._totals = totals

    def add_answer(
        self,
        row: ReplayRow,
        call: Features,
        dialect: Dialect,
        context: DecisionContext,
        decision: Decision,
        *,
        is_same: bool,
    ) -> None:
        """Count the answer of a row; `is_same` if it is of the target that is decided now."""
        if decision.escalate != "checked":
            return
        totals = self._totals
        totals.answers += 1
        if row.checked is None or not is_same:
            totals.unknown += 1
        elif row.escalated is not None:
            totals.escalated += 1
            totals.already += 1
        elif row.checked != "passed":
            self._add_fault(row, DecisionRecorder(self._router, call, dialect, context))

    def _add_fault(self, row: ReplayRow, recorder: DecisionRecorder) -> None:
        totals = self._totals
        try:
            recorder.decide()
            above, plan = recorder.decide_above()
        except ProblemError:
            return  # nothing above may serve the call
        except MissingFeatureError:
            totals.unknown += 1
            return
        totals.escalated += 1
        tokens = 0 if above.tier is None else self._output_tokens.find_mean(above.lab, above.tier)
        second_row = msgspec.structs.replace(row, output=tokens, reasoning=None)
        usd = compute_replayed_cost(second_row, plan.targets[0], 0).usd
        if usd is None:
            totals.unpriced += 1
        else:
            totals.added_usd = EXACT_CONTEXT.add(totals.added_usd, usd)
