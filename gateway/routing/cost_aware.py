"""The strategy `cost-aware`: rules and the classifier decide each user turn anew.

- A rule's tier or lab always holds.
- The classifier and the default tier raise a conversation by at most one tier a turn.
- Evidence against the last answer raises it by one tier, whatever the classifier says.
- The classifier and the default tier lower it if no cached tokens are lost, or if the cheaper tier
  saves more than they cost. They also lower it after `MAX_TURNS_BELOW` user turns in a row that
  needed less. They do not lower it for as many turns after evidence.

With the letters of `routing/switch_cost.py`, the cheaper target has to read P once, for X. It saves
`S = P*(rA - rB) + n*(wA - wB) + o*(yA - yB)` a call. The gateway expects as many more calls in the
conversation as it has had. The margin is what all of them save together, minus X.
"""

import msgspec

from gateway.core.decision import SessionSwitch
from gateway.core.prompt_cache import compute_warm_cost
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.dialects import Dialect
from gateway.routing import capabilities
from gateway.routing.affinity_verdict import AffinityDecision
from gateway.routing.features import Features
from gateway.routing.plan import find_nearest_tier
from gateway.routing.rules.guards import GuardBounds
from gateway.routing.switch_cost import (
    TierSelection,
    WeighedSession,
    check_insufficiency,
    describe_switch,
    estimate_usual_turn,
    find_first_target,
    find_price,
    format_usd,
)

MAX_TURNS_BELOW = 8
"""The number of user turns in a row that may need less than a conversation's tier. After them the
gateway lowers the conversation even if that costs more."""

_FREE_REASON = "no cached tokens are lost"


class CostAwareTurn(msgspec.Struct, frozen=True):
    """One user turn of a conversation that has a session."""

    affinity: AffinityDecision
    catalogue: Catalogue
    call: Features
    bounds: GuardBounds
    dialect: Dialect
    timestamp: float
    upgrade_threshold: float
    has_evidence: bool = False
    """True if evidence raised the selection: then the classifier need not be sure."""

    def weigh(self, selection: TierSelection, ruled_lab: str | None) -> WeighedSession:
        """Compare the session with what would be decided without it.

        `ruled_lab` is the lab that a rule asks for; None if no rule does.
        """
        lab, tier, model, source, _, verdict = selection
        session = self.affinity.session
        bounded_tier = find_nearest_tier(tier, self.bounds, self.call.key)
        steps_above = TIERS.index(bounded_tier) - TIERS.index(session.tier)
        if source == "rule":
            return self._follow_rule(lab, tier, model, f"a rule asks for {tier}")
        raised_tier = TIERS[min(TIERS.index(bounded_tier), TIERS.index(session.tier) + 1)]
        if ruled_lab not in (None, session.lab) and self._can_use_lab(lab):
            return self._follow_rule(lab, raised_tier, None, f"a rule asks for the lab {lab}")
        if steps_above == 0:
            return WeighedSession(moves=False, reason=f"{bounded_tier} is the new decision too")
        if steps_above < 0:
            return self._consider_lowering(lab, bounded_tier)
        switch = self._describe_switch(find_first_target(self.catalogue, lab, raised_tier))
        reason = f"{bounded_tier} is the new decision"
        if verdict is not None and switch.tokens and not self.has_evidence:
            moves, reason = check_insufficiency(session.tier, verdict, self.upgrade_threshold)
            if not moves:
                return WeighedSession(moves=False, reason=reason, switch=switch)
        if raised_tier != bounded_tier:
            reason = f"{reason}, one tier a turn"
        return WeighedSession(moves=True, reason=reason, switch=switch, tier=raised_tier)

    def _follow_rule(self, lab: str, tier: Tier, model: str | None, reason: str) -> WeighedSession:
        session = self.affinity.session
        is_same = (lab, tier) == (session.lab, session.tier) and model in (None, session.model)
        switch = (
            None
            if is_same
            else self._describe_switch(find_first_target(self.catalogue, lab, tier, model))
        )
        return WeighedSession(moves=True, reason=reason, switch=switch, tier=tier)

    def _can_use_lab(self, lab: str) -> bool:
        """True if the lab may serve the call; if not, the plan chooses another lab."""
        allowed_labs = self.call.key.labs
        return (
            self.catalogue.labs[lab].enabled
            and self.bounds.allows_lab(lab)
            and (allowed_labs is None or lab in allowed_labs)
        )

    def _consider_lowering(self, lab: str, decided_tier: Tier) -> WeighedSession:
        """Decide if a turn that needs less lowers the conversation."""
        session = self.affinity.session
        turns_below = session.turns_below + 1
        if session.rise is not None and session.rise.turns < MAX_TURNS_BELOW:
            reason = f"user turn {session.rise.turns + 1} of {MAX_TURNS_BELOW} after evidence"
            return WeighedSession(moves=False, reason=reason, turns_below=turns_below)
        cheaper_target = self._find_cheaper_target(lab, decided_tier)
        if cheaper_target is None:
            reason = f"no target below {session.tier} can serve this call"
            return WeighedSession(moves=False, reason=reason, turns_below=turns_below)
        tier, target = cheaper_target
        weighed_session = self._weigh_savings(target)
        if session.turns_below >= MAX_TURNS_BELOW and not weighed_session.moves:
            reason = f"{session.turns_below} user turns needed less than {session.tier}"
            weighed_session = msgspec.structs.replace(weighed_session, moves=True, reason=reason)
        if weighed_session.moves:
            return msgspec.structs.replace(weighed_session, tier=tier)
        return msgspec.structs.replace(weighed_session, turns_below=turns_below)

    def _find_cheaper_target(self, lab: str, lowest_tier: Tier) -> tuple[Tier, Target] | None:
        """Return the first tier and target, from `lowest_tier` to below the session's, that fit."""
        for tier in TIERS[TIERS.index(lowest_tier) : TIERS.index(self.affinity.session.tier)]:
            for target in self.catalogue.labs[lab].tiers.get(tier, ()):
                if not capabilities.choose_dialect(target, self.call, self.dialect)[1]:
                    return tier, target
        return None

    def _weigh_savings(self, target: Target) -> WeighedSession:
        """Compare what a cheaper target saves with what the lost cache costs."""
        affinity, timestamp = self.affinity, self.timestamp
        usual_turn, switch = estimate_usual_turn(affinity, self.call), self._describe_switch(target)
        is_free = not switch.tokens
        current_cost = compute_warm_cost(usual_turn, find_price(affinity.target, timestamp))
        new_cost = compute_warm_cost(usual_turn, find_price(target, timestamp))
        if switch.cost is None or current_cost is None or new_cost is None:
            reason = "the saving is unknown: a price is missing"
            return WeighedSession(
                moves=is_free, reason=_FREE_REASON if is_free else reason, switch=switch
            )
        saving, calls = current_cost - new_cost, max(1, affinity.session.calls)
        margin = saving * calls - switch.cost
        reason = (
            f"{target.name} saves {format_usd(saving)} a call for {calls} calls, "
            f"less {format_usd(switch.cost)} to "
            f"read {switch.tokens} cached tokens again: {format_usd(margin)}"
        )
        switch = msgspec.structs.replace(switch, saving=saving, calls=calls, margin=margin)
        return WeighedSession(
            moves=is_free or margin > 0, reason=_FREE_REASON if is_free else reason, switch=switch
        )

    def _describe_switch(self, target: Target | None) -> SessionSwitch:
        return describe_switch(
            self.affinity, target, estimate_usual_turn(self.affinity, self.call), self.timestamp
        )
