"""Whether a conversation that may leave its seat does, and what that costs.

P tokens are in the prompt cache of A, n are new, o come out; r, w and y are the prices of reading
the cache, of what is new, and of output. To stay costs `P*rA + n*wA + o*yA` a call, and on B each
call after the first `P*rB + n*wB + o*yB`. The first there has all to read: `X = P*(wB - rB)` more.
"""

from decimal import Decimal

import msgspec

from gateway.core.cached import Turn, lost, warm
from gateway.core.call import Strategy
from gateway.core.decision import Source, Switch
from gateway.core.evidence import Score
from gateway.core.price import Price
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.routing.features import Features
from gateway.routing.seat import Held

SURE = 0.5
"""Probability from which on a tier is taken not to suffice: more likely than not."""
_UNITS = Decimal("0.000001")


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """A seat after what would be decided without it was held against it."""

    moves: bool
    why: str
    switch: Switch | None = None
    """What was weighed, where it was; as one that is not made."""


def weigh(
    held: Held,
    catalogue: Catalogue,
    call: Features,
    at: float,
    strategy: Strategy,
    sure: float,
    found: tuple[str, Tier, str | None, Source, Score | None],
) -> Weighed:
    """A seat held against what would be decided without it: lab, tier, model, source and score."""
    lab, tier, model, source, score = found
    seat = held.seat
    above = TIERS.index(tier) - TIERS.index(seat.tier)
    if held.verdict == "leaves":
        if held.floor and above < 0:
            return Weighed(moves=False, why=f"it does not go down from {seat.tier}")
        return Weighed(moves=True, why=held.why)
    if above == 0:
        return Weighed(moves=False, why=f"{tier} would be decided too")
    to = _first(catalogue, lab, tier, model)
    if above > 0:
        switch = _switch(held, to, _said(held, call), at)
        if source == "rule":
            return Weighed(moves=True, why=f"a rule asks for {tier}", switch=switch)
        if score is None:
            return Weighed(moves=False, why=f"nothing is sure of {tier}", switch=switch)
        short = 1.0 - (score.fast if seat.tier == "fast" else score.smart)
        moves = short >= sure
        word = "from" if moves else "below"
        why = f"{seat.tier} does not suffice: {short:.2f}, {word} {sure:.2f} on it goes up"
        return Weighed(moves=moves, why=why, switch=switch)
    if strategy == "ratchet-up":
        why = f"it does not go down from {seat.tier}"
        return Weighed(moves=False, why=why, switch=_switch(held, to, _said(held, call), at))
    return _pays(held, to, _said(held, call), at)


def _pays(held: Held, to: Target | None, said: Turn, at: float) -> Weighed:
    """Whether a cheaper tier is worth the prompt cache that is left behind.

    The move costs X once and saves S with each call: it pays after X / S calls there. The
    conversation is expected to have as many calls yet as it has had.
    """
    here, there = warm(said, _price(held.target, at)), warm(said, _price(to, at))
    saving = None if here is None or there is None else here - there
    calls = max(1, held.seat.calls)
    switch = _switch(held, to, said, at)
    switch = msgspec.structs.replace(switch, saving=saving, calls=calls)
    once = switch.cost
    if once is None or saving is None:
        why = "what it would save is not known: a price is missing"
        return Weighed(moves=False, why=why, switch=switch)
    if saving <= 0:
        return Weighed(moves=False, why=f"{switch.to} saves nothing", switch=switch)
    moves = once < saving * calls
    ratio = (once / saving).quantize(Decimal("0.1"))
    why = f"{_usd(once)} once for {_usd(saving)} a call pays after {ratio} calls, {calls} to come"
    return Weighed(moves=moves, why=why, switch=switch)


def left(
    held: Held, call: Features, first: Target, at: float, weighed: Switch | None = None
) -> Switch:
    """A seat that was left for the first target of a plan, and what that costs."""
    found = _switch(held, first, _said(held, call), at)
    if weighed is not None and weighed.to == found.to:
        found = weighed
    return msgspec.structs.replace(found, moved=True)


def tell(switch: Switch) -> str:
    """What leaving a seat costs, for the trace."""
    if not switch.tokens:
        return "no cached tokens are lost"
    if switch.cost is None:
        return f"{switch.tokens} cached tokens are lost, at a price that is not known"
    return f"{switch.tokens} cached tokens are lost: {_usd(switch.cost)}"


def _switch(held: Held, to: Target | None, said: Turn, at: float) -> Switch:
    seat = held.seat
    same = to is not None and to == held.target  # another tier, and nothing else
    return Switch(
        moved=False,
        lab=seat.lab,
        tier=seat.tier,
        target=seat.target,
        to=seat.target if to is None else to.name,
        tokens=0 if same else said.cached,
        cost=Decimal(0) if same else lost(said, _price(to, at)),
    )


def _said(held: Held, call: Features) -> Turn:
    """A call of the conversation as it usually is."""
    seat = held.seat
    mean = seat.output // seat.calls if seat.calls else 0
    return Turn(cached=held.tokens, fresh=call.user_tokens, output=mean)


def _price(target: Target | None, at: float) -> Price | None:
    price = None if target is None else target.price
    return None if price is None else price.on(at)


def _first(catalogue: Catalogue, lab: str, tier: Tier, model: str | None) -> Target | None:
    """The first target that may serve a tier."""
    for target in catalogue.labs[lab].tiers.get(tier, ()):
        if target.provider.on and model in (None, target.model, target.name):
            return target
    return None


def _usd(usd: Decimal) -> str:
    return f"{usd.quantize(_UNITS).normalize():f} USD"
