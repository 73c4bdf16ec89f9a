"""Where a conversation sits, and whether it stays there.

A provider's prompt cache is lost with the model, the effort and the account, and what a model has
thought is of use to itself alone. So a seat is left at a user's turn only, and there for a reason.
Pure: what is known of the seat is evidence, its prices are the catalogue's.
"""

from typing import Literal, NamedTuple

import msgspec

from gateway.core.call import Strategy
from gateway.core.decision import Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.target import Catalogue, Target
from gateway.dialects import Dialect
from gateway.routing import capabilities
from gateway.routing.features import Features, tokens
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.guards import GuardBounds

type AffinityVerdict = Literal["stays", "weighs", "leaves"]


class AffinityDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a seat says before anything else is asked."""

    seat: Session
    target: Target | None
    """Its target; None where there is no such target any more."""
    tokens: int
    """Of its prompt, that are still in the prompt cache."""
    verdict: AffinityVerdict
    """`weighs`: it depends on what would be decided without it."""
    why: str
    prefers: bool = True
    """Its target comes first where its tier is decided again."""
    floor: bool = False
    """Where it leaves, it goes to no lower tier."""


def hold(
    catalogue: Catalogue,
    call: Features,
    pin: RequestedModel,
    bounds: GuardBounds,
    evidence: DecisionContext,
    strategy: Strategy,
    dialect: Dialect,
) -> AffinityDecision | None:
    """What the seat of a call's conversation says; None where it has none."""
    seat = evidence.seat
    if seat is None or not call.turn.seated:
        return None
    says = _verdict(catalogue, call, pin, bounds, evidence, seat, strategy, dialect)
    return AffinityDecision(
        seat=seat,
        target=_target(catalogue, seat),
        tokens=_kept(call, evidence, seat, says),
        verdict=says.verdict,
        why=says.why,
        prefers=says.prefers,
        floor=says.verdict == "leaves" and says.bound and strategy == "ratchet-up",
    )


class _Says(NamedTuple):
    verdict: AffinityVerdict
    why: str
    prefers: bool = True
    bound: bool = False
    """It is left for no wish of the caller."""
    whole: bool = True
    """Its prompt still begins as it did."""


def _verdict(
    catalogue: Catalogue,
    call: Features,
    pin: RequestedModel,
    bounds: GuardBounds,
    evidence: DecisionContext,
    seat: Session,
    strategy: Strategy,
    dialect: Dialect,
) -> _Says:
    turn, age = call.turn, _age(evidence, seat)
    if pin.tier is not None:
        says = _Says("leaves", "the caller names what it wants")
    elif pin.named_lab and pin.lab != seat.lab:
        says = _Says("leaves", f"the caller names the lab {pin.lab}")
    elif why := _shut(catalogue, call, bounds, seat):
        says = _Says("leaves", why, prefers=False, bound=True)
    elif turn.loop:
        says = _Says("stays", "inside a tool loop")
    elif turn.first and seat.first and turn.first != seat.first:
        says = _Says("leaves", "it begins with another message", prefers=False, whole=False)
    elif why := _out(catalogue, call, bounds, seat, dialect) or evidence.unseated:
        says = _Says("leaves", why, prefers=False, bound=True)
    elif strategy == "turn":
        says = _Says("leaves", "each user turn is decided anew")
    elif strategy == "pin":
        says = _Says("stays", "it stays to its end")
    elif age > seat.keeps:
        why = f"idle for {age:.0f} s, its prompt cache is kept for {seat.keeps:.0f} s"
        says = _Says("leaves", why, prefers=False, bound=True)
    elif turn.explicit and call.prompt.user_turns < seat.turns:
        # Of one that is known by how it begins it would be another that begins so.
        why = "it is shorter than it was"
        says = _Says("leaves", why, prefers=False, bound=True, whole=False)
    elif strategy == "sticky":
        says = _Says("stays", "it stays where it is")
    else:
        says = _Says("weighs", strategy)
    return says


def _kept(call: Features, evidence: DecisionContext, seat: Session, says: _Says) -> int:
    """Tokens of its prompt that are still in the prompt cache.

    What was made shorter, or begins with another message, still has its instructions and tools
    there: at most all that is not the user's.
    """
    if _age(evidence, seat) > seat.keeps:
        return 0
    if says.whole:
        return seat.tokens
    return min(seat.tokens, max(0, tokens(call.prompt) - call.user_tokens))


def _age(evidence: DecisionContext, seat: Session) -> float:
    """Seconds since its prompt cache was used."""
    return evidence.at - seat.at


def following(before: Session | None, seat: Session) -> Session:
    """Return the seat of an answered call, with what its conversation had before it added up."""
    if before is None:
        return seat
    return msgspec.structs.replace(seat, calls=before.calls + 1, output=before.output + seat.output)


def seated(plan: Plan, seat: Session) -> Plan:
    """A plan with the target of a seat first, where it is one of them."""
    targets = plan.targets
    at = next((at for at, target in enumerate(targets) if target.name == seat.target), 0)
    if at == 0:
        return plan
    order = [at, *(place for place in range(len(targets)) if place != at)]
    return msgspec.structs.replace(
        plan,
        targets=tuple([targets[place] for place in order]),
        doors=tuple([plan.doors[place] for place in order]),
        labs=tuple([plan.labs[place] for place in order]) if plan.labs else (),
    )


def _target(catalogue: Catalogue, seat: Session) -> Target | None:
    """The target of a seat, in its own lab or in one that took over."""
    lab = catalogue.labs.get(seat.lab)
    if lab is None:
        return None
    for target in lab.tiers.get(seat.tier, ()):
        if target.name == seat.target:
            return target
    for name in lab.fallback:
        for target in catalogue.labs[name].tiers.get(seat.tier, ()):
            if target.name == seat.target:
                return target
    return None


def _shut(catalogue: Catalogue, call: Features, bounds: GuardBounds, seat: Session) -> str:
    """Why the lab of a seat may serve nothing; empty where it may."""
    lab = catalogue.labs.get(seat.lab)
    if lab is None:
        return f"there is no lab {seat.lab} any more"
    if not lab.on:
        return f"{seat.lab} is off"
    scope = call.key.labs
    if not bounds.lab(seat.lab) or (scope is not None and seat.lab not in scope):
        return f"{seat.lab} may not be used"
    return ""


def _out(
    catalogue: Catalogue, call: Features, bounds: GuardBounds, seat: Session, dialect: Dialect
) -> str:
    """Why the target of a seat may not serve a call; empty where it may."""
    scope = call.key.tiers
    if bounds.tier(seat.tier) != seat.tier or (scope is not None and seat.tier not in scope):
        return f"{seat.tier} may not be used"
    target = _target(catalogue, seat)
    if target is None:
        return f"{seat.target} is no target of {seat.lab}/{seat.tier} any more"
    _, why = capabilities.door(target, call, dialect)
    return f"{target.name} {why}" if why else ""
