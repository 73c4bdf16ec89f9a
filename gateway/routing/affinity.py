"""A conversation's seat in a decision: asked first, held against what else would be, told last."""

from gateway.core.call import Strategy
from gateway.core.decision import Plan, SessionSwitch
from gateway.core.decision_context import DecisionContext
from gateway.core.target import Catalogue, Tier
from gateway.dialects import Dialect
from gateway.routing.affinity_verdict import hold, seated
from gateway.routing.classify import ScoredTier, TraceWriter
from gateway.routing.cost_aware import CostAwareTurn
from gateway.routing.features import Features
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.compile import CompiledChoice
from gateway.routing.rules.guards import GuardBounds
from gateway.routing.switch_cost import SURE, Chosen, WeighedSession, left, ratchet, tell

__all__ = ("SURE", "Chosen", "SessionAffinity")


class SessionAffinity:
    """The seat of a call's conversation, from what it says first to where it is in the end."""

    def __init__(
        self,
        catalogue: Catalogue,
        strategy: Strategy,
        sure: float,
        call: Features,
        pin: RequestedModel,
        bounds: GuardBounds,
        evidence: DecisionContext,
        dialect: Dialect,
    ) -> None:
        self._catalogue, self._call, self._at = catalogue, call, evidence.at
        self._strategy, self._sure = strategy, sure
        self._bounds, self._dialect = bounds, dialect
        self._weighed: WeighedSession | None = None
        self._held = hold(catalogue, call, pin, bounds, evidence, strategy, dialect)

    def stays(self, add: TraceWriter) -> Chosen | None:
        """The seat, where nothing else need be asked."""
        held = self._held
        if held is None or held.verdict == "weighs":
            return None
        seat = held.seat
        if held.verdict == "leaves":
            add("seat", held.why, f"leaves {seat.target}", matched=False)
            return None
        add("seat", held.why, f"{seat.lab}/{seat.tier} {seat.target}")
        return seat.lab, seat.tier, seat.model, "seat", None, None

    def weigh(
        self, found: Chosen, choice: CompiledChoice | None, add: TraceWriter
    ) -> tuple[Chosen, CompiledChoice | None]:
        """Hold the seat against what is decided without it, which a choice may have decided.

        Return what holds: the seat, or what was found, and the choice where it has a part in it.
        """
        held = self._held
        if held is None or not (held.verdict == "weighs" or held.floor):
            return found, choice
        seat = held.seat
        lab, tier, model, source, rule, verdict = found
        aware = self._strategy == "cost-aware"
        if aware:
            weighed = CostAwareTurn(
                held, self._catalogue, self._call, self._bounds, self._dialect, self._at,
                self._sure,
            ).weigh(found, None if choice is None or choice.lab != lab else lab)  # fmt: skip
        else:
            weighed = ratchet(held, self._catalogue, self._call, self._at, self._sure, found)
        self._weighed = weighed
        if not weighed.moves:
            add("seat", weighed.why, f"{seat.lab}/{seat.tier} {seat.target}")
            kept = verdict if aware else None
            return (seat.lab, seat.tier, seat.model, "seat", None, kept), choice if aware else None
        if held.verdict == "weighs" and (weighed.switch is not None or not aware):
            add("seat", weighed.why, f"leaves {seat.target}", matched=False)
        if weighed.tier in (None, tier):
            return found, choice
        return (lab, weighed.tier, model, source, rule, _of(verdict, weighed.tier)), choice

    @property
    def turns_below(self) -> int:
        """User turns in a row, this one included, that by themselves need less than the tier."""
        if self._weighed is not None:
            return self._weighed.turns_below
        if self._held is None or self._held.verdict != "stays":
            return 0
        return self._held.seat.turns_below

    def end(
        self, lab: str, tier: Tier, plan: Plan, add: TraceWriter
    ) -> tuple[Plan, SessionSwitch | None, str | None]:
        """The plan as the seat orders it, what was left or not, and the account that has it."""
        held, weighed = self._held, self._weighed
        if held is None:
            return plan, None, None
        seat, switch = held.seat, None if weighed is None else weighed.switch
        if (lab, tier) == (seat.lab, seat.tier):
            plan = seated(plan, seat) if held.prefers else plan
            if plan.targets[0].name == seat.target:
                return plan, switch, seat.account
        switch = left(held, self._call, plan.targets[0], self._at, switch)
        add("seat", tell(switch), f"{lab}/{tier} {switch.to}")
        return plan, switch, None


def _of(verdict: ScoredTier | None, tier: Tier) -> ScoredTier | None:
    """Return a verdict with the confidence in another tier than it asks for."""
    if verdict is None or verdict.confidence is None:
        return verdict
    score = verdict.score
    sure = {"fast": score.fast, "smart": score.smart, "reasoning": 1.0 - score.smart}[tier]
    return verdict._replace(confidence=round(sure, 4))
