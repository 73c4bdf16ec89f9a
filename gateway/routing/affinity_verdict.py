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
from gateway.routing.features import Features, estimate_tokens
from gateway.routing.model_name import RequestedModel
from gateway.routing.rules.guards import GuardBounds

type AffinityVerdict = Literal["stays", "weighs", "leaves"]


class AffinityDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a seat says before anything else is asked."""

    session: Session
    target: Target | None
    """Its target; None where there is no such target any more."""
    cached_tokens: int
    """Of its prompt, that are still in the prompt cache."""
    verdict: AffinityVerdict
    """`weighs`: it depends on what would be decided without it."""
    reason: str
    prefers_target: bool = True
    """Its target comes first where its tier is decided again."""
    has_tier_floor: bool = False
    """Where it leaves, it goes to no lower tier."""


def decide_affinity(
    catalogue: Catalogue,
    call: Features,
    requested_model: RequestedModel,
    bounds: GuardBounds,
    context: DecisionContext,
    strategy: Strategy,
    dialect: Dialect,
) -> AffinityDecision | None:
    """What the seat of a call's conversation says; None where it has none."""
    session = context.seat
    if session is None or not call.turn.follows_session:
        return None
    assessment = _assess_session(
        catalogue, call, requested_model, bounds, context, session, strategy, dialect
    )
    return AffinityDecision(
        session=session,
        target=_find_target(catalogue, session),
        cached_tokens=_count_cached_tokens(call, context, session, assessment),
        verdict=assessment.verdict,
        reason=assessment.reason,
        prefers_target=assessment.prefers_target,
        has_tier_floor=assessment.verdict == "leaves"
        and assessment.is_forced
        and strategy == "ratchet-up",
    )


class _SessionAssessment(NamedTuple):
    verdict: AffinityVerdict
    reason: str
    prefers_target: bool = True
    is_forced: bool = False
    """It is left for no wish of the caller."""
    keeps_prompt_start: bool = True
    """Its prompt still begins as it did."""


def _assess_session(
    catalogue: Catalogue,
    call: Features,
    requested_model: RequestedModel,
    bounds: GuardBounds,
    context: DecisionContext,
    session: Session,
    strategy: Strategy,
    dialect: Dialect,
) -> _SessionAssessment:
    turn, age = call.turn, _compute_age(context, session)
    if requested_model.tier is not None:
        assessment = _SessionAssessment("leaves", "the caller names what it wants")
    elif requested_model.is_lab_named and requested_model.lab != session.lab:
        assessment = _SessionAssessment("leaves", f"the caller names the lab {requested_model.lab}")
    elif reason := _find_lab_problem(catalogue, call, bounds, session):
        assessment = _SessionAssessment("leaves", reason, prefers_target=False, is_forced=True)
    elif turn.loop:
        assessment = _SessionAssessment("stays", "inside a tool loop")
    elif turn.first and session.first and turn.first != session.first:
        assessment = _SessionAssessment(
            "leaves",
            "it begins with another message",
            prefers_target=False,
            keeps_prompt_start=False,
        )
    elif (
        reason := _find_target_problem(catalogue, call, bounds, session, dialect)
        or context.unseated
    ):
        assessment = _SessionAssessment("leaves", reason, prefers_target=False, is_forced=True)
    elif strategy == "turn":
        assessment = _SessionAssessment("leaves", "each user turn is decided anew")
    elif strategy == "pin":
        assessment = _SessionAssessment("stays", "it stays to its end")
    elif age > session.keeps:
        reason = f"idle for {age:.0f} s, its prompt cache is kept for {session.keeps:.0f} s"
        assessment = _SessionAssessment("leaves", reason, prefers_target=False, is_forced=True)
    elif turn.explicit and call.prompt.user_turns < session.turns:
        # Of one that is known by how it begins it would be another that begins so.
        reason = "it is shorter than it was"
        assessment = _SessionAssessment(
            "leaves", reason, prefers_target=False, is_forced=True, keeps_prompt_start=False
        )
    elif strategy == "sticky":
        assessment = _SessionAssessment("stays", "it stays where it is")
    else:
        assessment = _SessionAssessment("weighs", strategy)
    return assessment


def _count_cached_tokens(
    call: Features, context: DecisionContext, session: Session, assessment: _SessionAssessment
) -> int:
    """Tokens of its prompt that are still in the prompt cache.

    What was made shorter, or begins with another message, still has its instructions and tools
    there: at most all that is not the user's.
    """
    if _compute_age(context, session) > session.keeps:
        return 0
    if assessment.keeps_prompt_start:
        return session.tokens
    return min(session.tokens, max(0, estimate_tokens(call.prompt) - call.user_tokens))


def _compute_age(context: DecisionContext, session: Session) -> float:
    """Seconds since its prompt cache was used."""
    return context.at - session.at


def accumulate_session(previous: Session | None, session: Session) -> Session:
    """Return the seat of an answered call, with what its conversation had before it added up."""
    if previous is None:
        return session
    return msgspec.structs.replace(
        session, calls=previous.calls + 1, output=previous.output + session.output
    )


def prefer_session_target(plan: Plan, session: Session) -> Plan:
    """A plan with the target of a seat first, where it is one of them."""
    targets = plan.targets
    index = next(
        (index for index, target in enumerate(targets) if target.name == session.target), 0
    )
    if index == 0:
        return plan
    order = [index, *(i for i in range(len(targets)) if i != index)]
    return msgspec.structs.replace(
        plan,
        targets=tuple([targets[i] for i in order]),
        dialects=tuple([plan.dialects[i] for i in order]),
        labs=tuple([plan.labs[i] for i in order]) if plan.labs else (),
    )


def _find_target(catalogue: Catalogue, session: Session) -> Target | None:
    """The target of a seat, in its own lab or in one that took over."""
    lab = catalogue.labs.get(session.lab)
    if lab is None:
        return None
    for target in lab.tiers.get(session.tier, ()):
        if target.name == session.target:
            return target
    for name in lab.fallback:
        for target in catalogue.labs[name].tiers.get(session.tier, ()):
            if target.name == session.target:
                return target
    return None


def _find_lab_problem(
    catalogue: Catalogue, call: Features, bounds: GuardBounds, session: Session
) -> str:
    """Why the lab of a seat may serve nothing; empty where it may."""
    lab = catalogue.labs.get(session.lab)
    if lab is None:
        return f"there is no lab {session.lab} any more"
    if not lab.enabled:
        return f"{session.lab} is off"
    allowed_labs = call.key.labs
    if not bounds.allows_lab(session.lab) or (
        allowed_labs is not None and session.lab not in allowed_labs
    ):
        return f"{session.lab} may not be used"
    return ""


def _find_target_problem(
    catalogue: Catalogue, call: Features, bounds: GuardBounds, session: Session, dialect: Dialect
) -> str:
    """Why the target of a seat may not serve a call; empty where it may."""
    allowed_tiers = call.key.tiers
    if bounds.clamp_tier(session.tier) != session.tier or (
        allowed_tiers is not None and session.tier not in allowed_tiers
    ):
        return f"{session.tier} may not be used"
    target = _find_target(catalogue, session)
    if target is None:
        return f"{session.target} is no target of {session.lab}/{session.tier} any more"
    _, reason = capabilities.choose_dialect(target, call, dialect)
    return f"{target.name} {reason}" if reason else ""
