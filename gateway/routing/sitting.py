"""A conversation's seat in a decision: asked first, held against what else would be, told last."""

from gateway.core.call import Strategy
from gateway.core.decision import Plan, Source, Switch
from gateway.core.evidence import Evidence
from gateway.core.target import Catalogue, Tier
from gateway.dialects import Dialect
from gateway.routing.classify import Add, Verdict
from gateway.routing.features import Features
from gateway.routing.guard import Bounds
from gateway.routing.move import SURE, Weighed, left, tell, weigh
from gateway.routing.pin import Pin
from gateway.routing.seat import hold, seated

__all__ = ("SURE", "Chosen", "Sitting")

type Chosen = tuple[str, Tier, str | None, Source, str | None, Verdict | None]
"""Lab, tier, model, who decided, by which rule, and what a classifier said."""


class Sitting:
    """The seat of a call's conversation, from what it says first to where it is in the end."""

    def __init__(
        self,
        catalogue: Catalogue,
        strategy: Strategy,
        sure: float,
        call: Features,
        pin: Pin,
        bounds: Bounds,
        evidence: Evidence,
        dialect: Dialect,
    ) -> None:
        self._catalogue, self._call, self._at = catalogue, call, evidence.at
        self._strategy, self._sure = strategy, sure
        self._weighed: Weighed | None = None
        self._held = hold(catalogue, call, pin, bounds, evidence, strategy, dialect)

    def stays(self, add: Add) -> Chosen | None:
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

    def weigh(self, found: Chosen, add: Add) -> Chosen:
        """What was decided without the seat, or the seat where it is held against it and stays."""
        held = self._held
        if held is None or not (held.verdict == "weighs" or held.floor):
            return found
        seat = held.seat
        lab, tier, model, source, _, verdict = found
        score = None if verdict is None else verdict.score
        self._weighed = weighed = weigh(
            held, self._catalogue, self._call, self._at, self._strategy, self._sure,
            (lab, tier, model, source, score),
        )  # fmt: skip
        if weighed.moves:
            if held.verdict == "leaves":
                return found
            add("seat", weighed.why, f"leaves {seat.target}", matched=False)
            return found
        add("seat", weighed.why, f"{seat.lab}/{seat.tier} {seat.target}")
        return seat.lab, seat.tier, seat.model, "seat", None, None

    def end(
        self, lab: str, tier: Tier, plan: Plan, add: Add
    ) -> tuple[Plan, Switch | None, str | None]:
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
