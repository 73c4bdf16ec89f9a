"""The cost of leaving a session, and the strategy `ratchet-up`.

P tokens of the prompt are in the prompt cache of target A, n tokens are new, and o tokens are
output. The prices are r for reading the cache, w for new tokens and y for output. A call that stays
on A costs `P*rA + n*wA + o*yA`. On B, each call after the first costs `P*rB + n*wB + o*yB`. The
first call on B has to read everything, which costs `X = P*(wB - rB)` more.
"""

from decimal import Decimal

import msgspec

from gateway.core.decision import DecisionSource, SessionSwitch
from gateway.core.price import Price
from gateway.core.prompt_cache import CachedTurn, compute_reread_cost
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.routing.affinity_verdict import AffinityDecision
from gateway.routing.classify import ScoredTier
from gateway.routing.features import Features

UPGRADE_THRESHOLD = 0.5
"""The probability from which on a tier is taken not to suffice: more likely than not."""
_USD_PRECISION = Decimal("0.000001")

type TierSelection = tuple[str, Tier, str | None, DecisionSource, str | None, ScoredTier | None]
"""Lab, tier, model, source, rule, and the classifier's verdict."""


class WeighedSession(msgspec.Struct, frozen=True, kw_only=True):
    """The result of comparing a session with what would be decided without it."""

    moves: bool
    reason: str
    switch: SessionSwitch | None = None
    """The switch that was weighed, as one that is not made; None if none was weighed."""
    tier: Tier | None = None
    """The tier to move to; None for the selected tier."""
    turns_below: int = 0
    """The number of user turns in a row that need less than the session's tier."""


def weigh_ratchet_up(
    affinity: AffinityDecision,
    catalogue: Catalogue,
    call: Features,
    timestamp: float,
    upgrade_threshold: float,
    selection: TierSelection,
    *,
    has_evidence: bool = False,
) -> WeighedSession:
    """Compare a session with what would be decided without it, by the strategy `ratchet-up`.

    If `has_evidence` is True, evidence raised the selection and the classifier need not be sure.
    """
    lab, tier, model, source, _, verdict = selection
    session = affinity.session
    steps_above = TIERS.index(tier) - TIERS.index(session.tier)
    if affinity.verdict == "leaves":
        if steps_above < 0:
            return WeighedSession(
                moves=False, reason=f"the gateway does not go down from {session.tier}"
            )
        return WeighedSession(moves=True, reason=affinity.reason)
    if steps_above == 0:
        return WeighedSession(moves=False, reason=f"{tier} is the new decision too")
    target = find_first_target(catalogue, lab, tier, model)
    switch = describe_switch(affinity, target, estimate_usual_turn(affinity, call), timestamp)
    if steps_above < 0:
        return WeighedSession(
            moves=False, reason=f"the gateway does not go down from {session.tier}", switch=switch
        )
    if source == "rule":
        return WeighedSession(moves=True, reason=f"a rule asks for {tier}", switch=switch)
    if has_evidence:
        return WeighedSession(moves=True, reason=f"{tier} is the new decision", switch=switch)
    if verdict is None:
        return WeighedSession(moves=False, reason=f"no classifier is sure of {tier}", switch=switch)
    moves, reason = check_insufficiency(session.tier, verdict, upgrade_threshold)
    return WeighedSession(moves=moves, reason=reason, switch=switch)


def check_insufficiency(
    tier: Tier, verdict: ScoredTier, upgrade_threshold: float
) -> tuple[bool, str]:
    """Return True if a classifier is sure that a tier does not suffice, and the reason in words."""
    score = verdict.score
    shortfall = 1.0 - (score.fast if tier == "fast" else score.smart)
    return (
        shortfall >= upgrade_threshold,
        (
            f"{tier} is too weak with probability {shortfall:.2f}; "
            f"the gateway goes up from {upgrade_threshold:.2f}"
        ),
    )


def describe_left_session(
    affinity: AffinityDecision,
    call: Features,
    target: Target,
    timestamp: float,
    weighed_switch: SessionSwitch | None = None,
) -> SessionSwitch:
    """Return the switch from a session to the first target of a plan, and its cost."""
    switch = describe_switch(affinity, target, estimate_usual_turn(affinity, call), timestamp)
    if weighed_switch is not None and weighed_switch.destination == switch.destination:
        switch = weighed_switch
    return msgspec.structs.replace(switch, has_moved=True)


def format_switch_cost(switch: SessionSwitch) -> str:
    """Return the cost of leaving a session, for the trace."""
    if not switch.tokens:
        return "no cached tokens are lost"
    if switch.cost is None:
        return f"{switch.tokens} cached tokens are lost, at a price that is not known"
    return f"{switch.tokens} cached tokens are lost: {format_usd(switch.cost)}"


def describe_switch(
    affinity: AffinityDecision, target: Target | None, cached_turn: CachedTurn, timestamp: float
) -> SessionSwitch:
    """Return the switch from a session to a target, as one that is not made; None for no target."""
    session = affinity.session
    is_same_target = (
        target is not None and target == affinity.target
    )  # another tier, but the same target
    return SessionSwitch(
        has_moved=False,
        lab=session.lab,
        tier=session.tier,
        target=session.target,
        destination=session.target if target is None else target.name,
        tokens=0 if is_same_target else cached_turn.cached_tokens,
        cost=Decimal(0)
        if is_same_target
        else compute_reread_cost(cached_turn, find_price(target, timestamp)),
    )


def estimate_usual_turn(affinity: AffinityDecision, call: Features) -> CachedTurn:
    """Return the usual tokens of a call of the conversation."""
    session = affinity.session
    mean_output = session.output // session.calls if session.calls else 0
    return CachedTurn(
        cached_tokens=affinity.cached_tokens,
        fresh_tokens=call.user_tokens,
        output_tokens=mean_output,
    )


def find_price(target: Target | None, timestamp: float) -> Price | None:
    """Return the price of a target at a moment; None if it is not known."""
    price = None if target is None else target.price
    return None if price is None else price.find_in_force(timestamp)


def find_first_target(
    catalogue: Catalogue, lab: str, tier: Tier, model: str | None = None
) -> Target | None:
    """Return the first target of a tier that is on; the plan checks if it can serve a call."""
    for target in catalogue.labs[lab].tiers.get(tier, ()):
        if target.provider.enabled and model in (None, target.model, target.name):
            return target
    return None


def format_usd(amount: Decimal) -> str:
    """Format an amount of USD for the trace."""
    return f"{amount.quantize(_USD_PRECISION).normalize():f} USD"
