"""The strategy `cost-aware`: rules and the classifier decide each user turn anew.

- A rule's tier or lab always holds.
- The classifier and the default tier raise a conversation by at most one tier a turn.
- They lower it where no cached tokens are lost, or where the cheaper tier saves more than they
  cost. After `MOST_TURNS_BELOW` user turns in a row that needed less, they lower it
  in any case.

With the letters of `routing/move.py`, the cheaper target has to read P once, for X. It saves
`S = P*(rA - rB) + n*(wA - wB) + o*(yA - yB)` a call. The conversation is expected to have as many
calls yet as it has had. The margin is what they save together, less X.
"""

import msgspec

from gateway.core.decision import SessionSwitch
from gateway.core.prompt_cache import warm
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.dialects import Dialect
from gateway.routing import capabilities
from gateway.routing.affinity_verdict import AffinityDecision
from gateway.routing.features import Features
from gateway.routing.plan import nearest
from gateway.routing.rules.guards import GuardBounds
from gateway.routing.switch_cost import (
    Chosen,
    WeighedSession,
    first_target,
    price_at,
    suffices,
    switch_to,
    usd,
    usual_call,
)

MOST_TURNS_BELOW = 8
"""User turns in a row that may need less than a conversation's tier before it is lowered anyway."""

_FREE = "no cached tokens are lost"


class CostAwareTurn(msgspec.Struct, frozen=True):
    """One user turn of a conversation that has a seat."""

    held: AffinityDecision
    catalogue: Catalogue
    call: Features
    bounds: GuardBounds
    dialect: Dialect
    at: float
    sure: float

    def weigh(self, chosen: Chosen, ruled_lab: str | None) -> WeighedSession:
        """Hold the seat against what is decided without it.

        `ruled_lab` is the lab that a rule asks for; None where none does.
        """
        lab, tier, _, source, _, verdict = chosen
        seat = self.held.seat
        own = nearest(tier, self.bounds, self.call.key)
        above = TIERS.index(own) - TIERS.index(seat.tier)
        if source == "rule":
            return self._ruled(chosen, f"a rule asks for {tier}")
        raised = own if above < 1 else TIERS[TIERS.index(seat.tier) + 1]
        if ruled_lab not in (None, seat.lab) and self._usable(lab):
            return self._ruled((lab, raised, *chosen[2:]), f"a rule asks for the lab {lab}")
        if above == 0:
            return WeighedSession(moves=False, why=f"{own} would be decided too")
        if above < 0:
            return self._lower(lab, own)
        switch = self._switch(first_target(self.catalogue, lab, raised))
        why = f"{own} is decided"
        if verdict is not None and switch.tokens:
            moves, why = suffices(seat.tier, verdict, self.sure)
            if not moves:
                return WeighedSession(moves=False, why=why, switch=switch)
        if raised != own:
            why = f"{why}, one tier a turn"
        return WeighedSession(moves=True, why=why, switch=switch, tier=raised)

    def _ruled(self, chosen: Chosen, why: str) -> WeighedSession:
        lab, tier, model, *_ = chosen
        seat = self.held.seat
        same = (lab, tier) == (seat.lab, seat.tier) and model in (None, seat.model)
        switch = None if same else self._switch(first_target(self.catalogue, lab, tier, model))
        return WeighedSession(moves=True, why=why, switch=switch, tier=tier)

    def _usable(self, lab: str) -> bool:
        """True if the lab can serve the call's key; another lab serves it where not."""
        scope = self.call.key.labs
        return (
            self.catalogue.labs[lab].on and self.bounds.lab(lab) and (scope is None or lab in scope)
        )

    def _lower(self, lab: str, own: Tier) -> WeighedSession:
        """Decide whether a turn that needs less lowers the conversation."""
        seat = self.held.seat
        below = seat.turns_below + 1
        found = self._cheaper(lab, own)
        if found is None:
            why = f"no target below {seat.tier} can serve this call"
            return WeighedSession(moves=False, why=why, turns_below=below)
        tier, to = found
        weighed = self._pays(to)
        if seat.turns_below >= MOST_TURNS_BELOW and not weighed.moves:
            why = f"{seat.turns_below} user turns needed less than {seat.tier}"
            weighed = msgspec.structs.replace(weighed, moves=True, why=why)
        if weighed.moves:
            return msgspec.structs.replace(weighed, tier=tier)
        return msgspec.structs.replace(weighed, turns_below=below)

    def _cheaper(self, lab: str, own: Tier) -> tuple[Tier, Target] | None:
        """Return the nearest tier from `own` to below the seat's that can serve the call."""
        for tier in TIERS[TIERS.index(own) : TIERS.index(self.held.seat.tier)]:
            for target in self.catalogue.labs[lab].tiers.get(tier, ()):
                if not capabilities.door(target, self.call, self.dialect)[1]:
                    return tier, target
        return None

    def _pays(self, to: Target) -> WeighedSession:
        """Hold what a cheaper target saves against what the lost cache costs."""
        held, at = self.held, self.at
        said, switch = usual_call(held, self.call), self._switch(to)
        free = not switch.tokens
        here, there = warm(said, price_at(held.target, at)), warm(said, price_at(to, at))
        if switch.cost is None or here is None or there is None:
            why = "what it would save is not known: a price is missing"
            return WeighedSession(moves=free, why=_FREE if free else why, switch=switch)
        saving, calls = here - there, max(1, held.seat.calls)
        margin = saving * calls - switch.cost
        why = (
            f"{to.name} saves {usd(saving)} a call for {calls} calls, less {usd(switch.cost)} to "
            f"read {switch.tokens} cached tokens anew: {usd(margin)}"
        )
        switch = msgspec.structs.replace(switch, saving=saving, calls=calls, margin=margin)
        return WeighedSession(moves=free or margin > 0, why=_FREE if free else why, switch=switch)

    def _switch(self, to: Target | None) -> SessionSwitch:
        return switch_to(self.held, to, usual_call(self.held, self.call), self.at)
