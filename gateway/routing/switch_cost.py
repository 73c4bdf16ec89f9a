"""Whether a conversation that may leave its seat does, and what that costs.

P tokens are in the prompt cache of A, n are new, o come out; r, w and y are the prices of reading
the cache, of what is new, and of output. To stay costs `P*rA + n*wA + o*yA` a call, and on B each
call after the first `P*rB + n*wB + o*yB`. The first there has all to read: `X = P*(wB - rB)` more.
"""

from decimal import Decimal

import msgspec

from gateway.core.decision import SessionSwitch, Source
from gateway.core.price import Price
from gateway.core.prompt_cache import CachedTurn, lost
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.routing.affinity_verdict import AffinityDecision
from gateway.routing.classify import ScoredTier
from gateway.routing.features import Features

SURE = 0.5
"""Probability from which on a tier is taken not to suffice: more likely than not."""
_UNITS = Decimal("0.000001")

type Chosen = tuple[str, Tier, str | None, Source, str | None, ScoredTier | None]
"""Lab, tier, model, who decided, by which rule, and what a classifier said."""


class WeighedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A seat after what would be decided without it was held against it."""

    moves: bool
    why: str
    switch: SessionSwitch | None = None
    """What was weighed, where it was; as one that is not made."""
    tier: Tier | None = None
    """The tier that it moves to, where that is not the one that was decided."""
    turns_below: int = 0
    """User turns in a row that by themselves need less than its tier."""


def ratchet(
    held: AffinityDecision,
    catalogue: Catalogue,
    call: Features,
    at: float,
    sure: float,
    chosen: Chosen,
) -> WeighedSession:
    """Hold a seat against what would be decided without it, by the strategy `ratchet-up`."""
    lab, tier, model, source, _, verdict = chosen
    seat = held.seat
    above = TIERS.index(tier) - TIERS.index(seat.tier)
    if held.verdict == "leaves":
        if above < 0:
            return WeighedSession(moves=False, why=f"it does not go down from {seat.tier}")
        return WeighedSession(moves=True, why=held.why)
    if above == 0:
        return WeighedSession(moves=False, why=f"{tier} would be decided too")
    to = first_target(catalogue, lab, tier, model)
    switch = switch_to(held, to, usual_call(held, call), at)
    if above < 0:
        return WeighedSession(
            moves=False, why=f"it does not go down from {seat.tier}", switch=switch
        )
    if source == "rule":
        return WeighedSession(moves=True, why=f"a rule asks for {tier}", switch=switch)
    if verdict is None:
        return WeighedSession(moves=False, why=f"nothing is sure of {tier}", switch=switch)
    moves, why = suffices(seat.tier, verdict, sure)
    return WeighedSession(moves=moves, why=why, switch=switch)


def suffices(tier: Tier, verdict: ScoredTier, sure: float) -> tuple[bool, str]:
    """Say if a classifier is sure that a tier does not suffice, and why in words."""
    score = verdict.score
    short = 1.0 - (score.fast if tier == "fast" else score.smart)
    word = "from" if short >= sure else "below"
    return short >= sure, f"{tier} does not suffice: {short:.2f}, {word} {sure:.2f} on it goes up"


def left(
    held: AffinityDecision,
    call: Features,
    first: Target,
    at: float,
    weighed: SessionSwitch | None = None,
) -> SessionSwitch:
    """A seat that was left for the first target of a plan, and what that costs."""
    found = switch_to(held, first, usual_call(held, call), at)
    if weighed is not None and weighed.to == found.to:
        found = weighed
    return msgspec.structs.replace(found, moved=True)


def tell(switch: SessionSwitch) -> str:
    """What leaving a seat costs, for the trace."""
    if not switch.tokens:
        return "no cached tokens are lost"
    if switch.cost is None:
        return f"{switch.tokens} cached tokens are lost, at a price that is not known"
    return f"{switch.tokens} cached tokens are lost: {usd(switch.cost)}"


def switch_to(
    held: AffinityDecision, to: Target | None, said: CachedTurn, at: float
) -> SessionSwitch:
    """Describe the move from a seat to a target, as one that is not made; None stays."""
    seat = held.seat
    same = to is not None and to == held.target  # another tier, and nothing else
    return SessionSwitch(
        moved=False,
        lab=seat.lab,
        tier=seat.tier,
        target=seat.target,
        to=seat.target if to is None else to.name,
        tokens=0 if same else said.cached,
        cost=Decimal(0) if same else lost(said, price_at(to, at)),
    )


def usual_call(held: AffinityDecision, call: Features) -> CachedTurn:
    """Return the tokens that a call of the conversation usually has."""
    seat = held.seat
    mean = seat.output // seat.calls if seat.calls else 0
    return CachedTurn(cached=held.tokens, fresh=call.user_tokens, output=mean)


def price_at(target: Target | None, at: float) -> Price | None:
    """Return the price of a target at a moment; None where it is not known."""
    price = None if target is None else target.price
    return None if price is None else price.on(at)


def first_target(
    catalogue: Catalogue, lab: str, tier: Tier, model: str | None = None
) -> Target | None:
    """Return the first target of a tier that is on; the plan says whether it can serve a call."""
    for target in catalogue.labs[lab].tiers.get(tier, ()):
        if target.provider.on and model in (None, target.model, target.name):
            return target
    return None


def usd(amount: Decimal) -> str:
    """Write an amount for the trace."""
    return f"{amount.quantize(_UNITS).normalize():f} USD"
